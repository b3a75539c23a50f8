"""Sets the scene for an alert: a lab, an application, Prometheus, Alertmanager, and the operator beside them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from incident_operator.demo.alert_monitoring import Monitoring
from incident_operator.demo.api import Api
from incident_operator.demo.client import Client
from incident_operator.demo.scene import Scene, shipped
from incident_operator.lab import Lab, LabError, app_image, monitoring, processes
from incident_operator.lab.lab import Nodes
from incident_operator.lab.progress import doing

NAMESPACE = "checkout"
INCIDENTS = "incidents.incident-operator.dev"
WORKLOADS = ("statefulset/database", "deployment/api")
VERIFIED_AFTER = "20s"
"""Longer than the demo's bad version runs: it is never marked as good."""


class AlertScene(Scene):
    """Where it plays. The operator, Prometheus and Alertmanager are processes of this machine, and end with it."""

    def __init__(self, lab: Lab) -> None:
        """Take a lab, up or not."""
        super().__init__(lab)
        self.monitoring: Monitoring
        self.client: Client

    def set(self, nodes: Nodes = "real") -> None:
        """Bring up everything, and wait until it is well."""
        print("1. A Kubernetes of its own", flush=True)
        programs = monitoring.programs(lambda what: print(f"   {what}", flush=True))
        self.lab.up(nodes)
        if not self.is_real:
            raise LabError("the demo's lab is up with simulated pods, which answer nothing: make demo-down, then again")
        print(f"   {self.lab.status().server} with a real node", flush=True)
        print("2. The application: an api that counts its answers, and its database", flush=True)
        self._application()
        print("3. Prometheus and Alertmanager", flush=True)
        folder = self.lab.directory / "tmp/alerting"
        shutil.rmtree(folder, ignore_errors=True)
        self.monitoring = Monitoring(folder, self.lab.kubeconfig, NAMESPACE)
        with doing("waiting for Prometheus to scrape the application"):
            self.monitoring.start()
        print(f"   {programs}/prometheus at {self.monitoring.prometheus.url}", flush=True)
        print(f"   {programs}/alertmanager at {self.monitoring.alertmanager.url}", flush=True)
        print("4. The operator", flush=True)
        self._operator()
        self.client = Client(self.lab.kubeconfig, NAMESPACE, "api:http", "/orders")
        self._await_good()

    def close(self) -> None:
        """End what plays on this machine; the lab stays."""
        if hasattr(self, "client"):
            self.client.close()
        processes.end(self.lab.directory / "run/operator.json")
        if hasattr(self, "monitoring"):
            self.monitoring.stop()

    def _application(self) -> None:
        lab = self.lab
        with doing("importing the image"):
            lab.import_image(app_image())
        self._install()
        self._forget()
        self.apply(shipped("examples/alerts-demo/application.yaml"))
        self.apply(shipped("examples/alerts-demo/runbook.yaml"))
        lab.kubectl("apply", "-n", NAMESPACE, "-k", str(shipped("manifests/responder")))
        with doing("waiting for the application"):
            for workload in WORKLOADS:
                lab.kubectl("rollout", "status", "-n", NAMESPACE, workload, "--timeout=120s")
        print("   both are ready; its Runbook bad-deploy says what to do about an alert that names it", flush=True)

    def _install(self) -> None:
        """The operator's kinds and rights, without its pod: a pod could not reach a Prometheus of this machine."""
        lab = self.lab
        parts = [
            shipped("crds"),
            *(shipped(f"manifests/base/{part}.yaml") for part in ("namespace", "service-account")),
        ]
        parts += [shipped(f"manifests/base/{part}.yaml") for part in ("rbac", "admission")]
        for part in parts:
            lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(part))
        lab.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        # One that another demo has left would act, too.
        pods = ("-n", "incident-operator", "--selector=app.kubernetes.io/name=incident-operator")
        lab.kubectl("scale", "deployment/incident-operator", pods[0], pods[1], "--replicas=0", check=False)
        lab.kubectl("wait", "--for=delete", "pod", *pods, "--timeout=60s", check=False)

    def _forget(self) -> None:
        """Remove what an earlier run has left: its revisions and its Incidents would prove nothing."""
        lab, space = self.lab, ("-n", NAMESPACE)
        if lab.kubectl("get", INCIDENTS, *space, "-o", "name").stdout:
            self._run()  # only an operator lets go of what an Incident has done
            lab.kubectl("delete", INCIDENTS, "--all", *space, "--timeout=60s")
            processes.end(self.lab.directory / "run/operator.json")
        lab.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")

    def _operator(self) -> None:
        log = self._run("--config", str(self.monitoring.configuration), "--verified-after", VERIFIED_AFTER)
        print(f"   takes alerts in at http://{self.monitoring.receiver}/alerts; its log is {log}", flush=True)

    def _run(self, *options: str) -> Path:
        """Start an operator of this namespace, in place of any other; its log."""
        lab, record, log = self.lab, self.lab.directory / "run/operator.json", self.lab.directory / "log/operator.log"
        processes.end(record)
        log.unlink(missing_ok=True)
        argv = [
            sys.executable, "-m", "incident_operator", "run", "--kubeconfig", str(lab.kubeconfig),
            "--namespace", NAMESPACE, "--listen", "127.0.0.1:0", *options,
        ]  # fmt: skip
        process = processes.start(argv, log, env=dict(os.environ))
        processes.record(record, process.pid)
        processes.wait_for(
            lambda: "http://127" in log.read_text() or process.poll() is not None, 30, f"the operator to start: {log}"
        )
        if process.poll() is not None:
            raise LabError(f"the operator ended with {process.returncode}:\n{processes.tail(log)}")
        return log

    def _await_good(self) -> None:
        """Until the first version is seen to be good by a client, by Prometheus and by the operator."""
        api, client = Api(self.lab.kubeconfig), self.client
        sets = f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets?labelSelector=app%3Dapi"

        def is_marked() -> bool:
            found = (api.object(sets) or {}).get("items", ())
            return any("incident-operator.dev/verified-at" in each["metadata"].get("annotations", {}) for each in found)

        with doing("waiting until all have seen that this version is good"):
            processes.wait_for(lambda: client.good_from(0) is not None, 30, "the first good answers of the api")
            good = 'sum(rate(http_requests_total{code="200"}[5s])) > 5'
            processes.wait_for(lambda: self.monitoring.query(good), 30, "Prometheus to see good answers", every=0.2)
            processes.wait_for(is_marked, 90, "the mark verified-at on the api's ReplicaSet", every=0.2)
        print(f"   a client sees {client.lately()}, and the operator has marked version 1 as good", flush=True)
