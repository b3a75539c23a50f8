"""Sets the scene: the lab, the operator and the application in it; and takes it away."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

from incident_operator.demo.api import Api
from incident_operator.lab import Lab, LabError, app_image, processes
from incident_operator.lab.lab import Nodes
from incident_operator.lab.operator_image import operator_image
from incident_operator.lab.progress import doing

NAMESPACE = "spywatcher"
OUTAGE_NAMESPACE = "shop"
OUTAGE_WORKLOADS = ("statefulset/db", "deployment/api", "deployment/bot", "deployment/frontend", "deployment/exporter")
WORKLOADS = ("statefulset/database", "deployment/api", "statefulset/bot", "deployment/frontend", "deployment/exporter")
FIELD_MANAGER = "demo"


def shipped(part: str) -> Path:
    """A file or folder that the project ships: in the checkout, or in the installed package."""
    here = Path(__file__).resolve()
    for top in (here.parents[3], here.parents[1] / "data"):
        if (top / part).exists():
            return top / part
    raise LabError(f"{part} is not there: run the demo from a checkout")


def _install() -> str:
    """The shipped manifest, with a revision taken for good after three seconds instead of ten minutes."""
    documents = list(yaml.safe_load_all(shipped("manifests/install.yaml").read_text()))
    for each in documents:
        if each["kind"] == "Deployment":
            env = each["spec"]["template"]["spec"]["containers"][0]["env"]
            env.append({"name": "INCIDENT_OPERATOR_VERIFIED_AFTER", "value": "3s"})
    return yaml.safe_dump_all(documents)


class Scene:
    """Where the demo plays."""

    def __init__(self, lab: Lab) -> None:
        """Take a lab, up or not."""
        self.lab = lab

    @property
    def is_real(self) -> bool:
        """Whether pods are real."""
        return self.lab.settings().is_real

    def set(self, nodes: Nodes = "auto") -> None:
        """Bring up everything, and wait until it is well."""
        print("1. A Kubernetes of its own", flush=True)
        self.lab.up(nodes)
        kind = "a real node" if self.is_real else "a simulated node: PODS ARE SIMULATED, no requests are made"
        print(f"   {self.lab.status().server} with {kind}", flush=True)
        print("2. The operator", flush=True)
        self._operator()
        print("3. The application: database, api, bot, frontend and auxiliary services", flush=True)
        self._application()

    def apply(self, path: Path) -> None:
        """Kubectl apply."""
        self.lab.kubectl("apply", "-f", str(path))

    def _operator(self) -> None:
        lab = self.lab
        if self.is_real:
            with doing("importing images"):
                lab.import_image(app_image())
                lab.import_image(operator_image())
        lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=_install())
        lab.kubectl("wait", "--for=condition=Established", "crd/incidents.incident-operator.dev", "--timeout=30s")
        if not self.is_real:
            self._operator_process()
            return
        with doing("waiting for the operator"):
            lab.kubectl("rollout", "status", "-n", "incident-operator", "deployment/incident-operator", "--timeout=90s")
        print("   runs as a pod, installed from manifests/install.yaml", flush=True)

    def _operator_process(self) -> None:
        """The operator on this machine, where no pod can run it."""
        lab, record = self.lab, self.lab.directory / "run/operator.json"
        if processes.recorded(record):
            return
        argv = [
            sys.executable,
            "-m",
            "incident_operator",
            "run",
            "--kubeconfig",
            str(lab.kubeconfig),
            "--verified-after",
            "3s",
        ]
        log = lab.directory / "log/operator.log"
        process = processes.start([*argv, "--listen", "127.0.0.1:0"], log, env=dict(os.environ), detached=True)
        processes.record(record, process.pid)
        processes.wait_for(lambda: "http://127" in log.read_text(), 30, f"the operator to start; see {log}")
        print(f"   runs as a process on this machine; its log is {log}", flush=True)

    def _application(self) -> None:
        lab = self.lab
        lab.kubectl("delete", "incidents.incident-operator.dev", "--all", "-n", NAMESPACE, "--timeout=60s", check=False)
        lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(shipped("examples/application.yaml")))
        lab.kubectl("apply", "-n", NAMESPACE, "-k", str(shipped("manifests/responder")))
        with doing("waiting for the application"):
            for workload in WORKLOADS:
                lab.kubectl("rollout", "status", "-n", NAMESPACE, workload, "--timeout=120s")
        with doing("waiting until the operator has seen that this version is good"):
            api = Api(lab.kubeconfig)
            processes.wait_for(
                lambda: self._is_marked(api), 60, "the mark verified-at on the api's ReplicaSet", every=0.2
            )
        print("   all five are ready, and the operator has marked the api's revision as good", flush=True)

    def _is_marked(self, api: Api) -> bool:
        sets = api.object(f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets?labelSelector=app%3Dapi") or {}
        marks = [each["metadata"].get("annotations", {}) for each in sets.get("items", ())]
        return any("incident-operator.dev/verified-at" in each for each in marks)

    def take_away(self) -> None:
        """Stop everything and remove it."""
        processes.end(self.lab.directory / "run/operator.json")
        self.lab.down()


class OutageScene(Scene):
    """The same with another application: one that keeps its rows in a real PostgreSQL."""

    def _application(self) -> None:
        from incident_operator.demo.volumes import make_volumes
        from incident_operator.lab.postgres_image import postgres_image

        lab, space = self.lab, OUTAGE_NAMESPACE
        # What an earlier run has left: its rows and its volumes would prove nothing.
        lab.kubectl("delete", "incidents.incident-operator.dev", "--all", "-n", space, "--timeout=60s", check=False)
        lab.kubectl("delete", "namespace", space, "--ignore-not-found", "--timeout=120s")
        lab.kubectl("delete", "pv", "--all", "--timeout=60s")
        lab.import_image(postgres_image())
        make_volumes(lab)
        for part in ("application", "jobs"):
            path = shipped(f"examples/outage/{part}.yaml")
            lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path))
        lab.kubectl("apply", "-n", space, "-k", str(shipped("manifests/responder")))
        with doing("waiting for the application"):
            for workload in OUTAGE_WORKLOADS:
                lab.kubectl("rollout", "status", "-n", space, workload, "--timeout=120s")
        print("   all are ready; the database is PostgreSQL", flush=True)
