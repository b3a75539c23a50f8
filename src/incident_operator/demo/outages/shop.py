"""The application of ``examples/outage`` in one namespace of a lab: started, asked and broken by kubectl."""

from __future__ import annotations

import json
from typing import Any

import yaml

from incident_operator.demo.api import Api
from incident_operator.demo.rows import EVERY_SECONDS, Rows
from incident_operator.demo.scene import OUTAGE_NAMESPACE, OUTAGE_WORKLOADS, shipped
from incident_operator.demo.volumes import CLASS, make_volumes
from incident_operator.lab import Lab
from incident_operator.lab.postgres_image import postgres_image
from incident_operator.lab.processes import wait_for

INCIDENT = "all-down"
Thing = dict[str, Any]


class Shop:
    """The application, and what a person may do to it. Everything raises LabError where kubectl does not succeed."""

    def __init__(
        self, lab: Lab, namespace: str = OUTAGE_NAMESPACE, *, prefix: str = "", every: float = EVERY_SECONDS
    ) -> None:
        """Name where it is, or is to be; ``prefix`` is that of its volumes, ``every`` how often its client writes."""
        self.lab, self.namespace = lab, namespace
        self._prefix, self._every = prefix, every
        self._rows: Rows | None = None

    def __call__(self, *args: str, given: str | None = None) -> str:
        """Kubectl in its namespace; what it printed."""
        return self.lab.kubectl("-n", self.namespace, *args, given=given).stdout

    def crash(self, script: str, *, pod: str = "db-0") -> None:
        """Run what ends the container it runs in, and so maybe itself: whether it worked is seen from outside."""
        self.lab.kubectl("-n", self.namespace, "exec", pod, "--", "sh", "-c", script, check=False)

    def json(self, *args: str) -> Any:
        """What ``kubectl get`` says."""
        return json.loads(self("get", *args, "-o", "json"))

    def manifests(self, *files: str) -> list[Thing]:
        """The objects of files of ``examples``, for this namespace and volumes of its own."""
        return manifests(self._prefix, *files)

    def apply(self, *objects: Thing) -> None:
        """Kubectl apply."""
        self("apply", "--server-side", "--force-conflicts", "-f", "-", given=yaml.safe_dump_all(objects))

    def start(self) -> None:
        """Bring images and volumes, and start the application but for its replica."""
        self.lab.import_image(postgres_image())
        make_volumes(self.lab, self._prefix)
        self.apply(*self.manifests("outage/application.yaml", "outage/jobs.yaml"))

    def await_ready(self, seconds: int = 120) -> None:
        """Wait until all of it is ready."""
        for workload in OUTAGE_WORKLOADS:
            self("rollout", "status", workload, f"--timeout={seconds}s")

    def rows(self) -> Rows:
        """A client that begins to write, with numbers that the last one has not used; close that one first."""
        first = self._rows.last + 1 if self._rows else 1
        self._rows = Rows(self.lab.kubeconfig, self.namespace, first=first, every=self._every)
        return self._rows

    def psql(self, query: str, *, pod: str = "db-0", **given: int) -> str:
        """One answer of a database, asked inside its pod; ``:n`` in the query stands for what is given as ``n``."""
        variables = [f"--set={name}={value}" for name, value in given.items()]
        program = ["psql", "-XAtqU", "postgres", "-d", "app", "--set=ON_ERROR_STOP=1", *variables]
        return self("exec", "-i", pod, "--", *program, given=query).strip()

    def ask(self, path: str, *, service: str = "frontend") -> Any:
        """What a Service answers to a GET, by way of the API server; None if it does not answer well."""
        proxy = f"/api/v1/namespaces/{self.namespace}/services/http:{service}:http/proxy{path}"
        done = self.lab.kubectl("get", "--raw", proxy, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def run_job(self, cron_job: str, name: str, *, seconds: float = 120) -> tuple[bool, str]:
        """Run a Job of a CronJob to its end; whether it completed, and what it said."""
        self("delete", f"job/{name}", "--ignore-not-found", "--timeout=30s")
        self("create", "job", f"--from=cronjob/{cron_job}", name)
        wait_for(lambda: verdict(self.json("job", name)), seconds, f"Job {name} to end", every=0.1)
        completed = verdict(self.json("job", name)) == "Complete"
        return completed, self("logs", f"job/{name}", "--all-containers")

    def claim(self, workload: str = "db") -> str:
        """The claim that a database's pod template names."""
        volumes = self.json("statefulset", workload)["spec"]["template"]["spec"]["volumes"]
        found: str = volumes[0]["persistentVolumeClaim"]["claimName"]
        return found

    def deployments(self, field: str) -> dict[str, int]:
        """The replicas that each Deployment asks for (``spec.replicas``), or its ``metadata.generation``."""
        part, name = field.split(".")
        return {each["metadata"]["name"]: each[part][name] for each in self.json("deployments")["items"]}

    def api(self) -> Api:
        """A connection of its own to the API server."""
        return Api(self.lab.kubeconfig)

    def incident_path(self) -> str:
        """Where the API server has the Incident of an outage."""
        return f"/apis/incident-operator.dev/v1alpha1/namespaces/{self.namespace}/incidents/{INCIDENT}"


def verdict(job: Thing) -> str:
    """How a Job ended: Complete or Failed; empty as long as it runs."""
    ended = [each["type"] for each in job.get("status", {}).get("conditions", ()) if each["status"] == "True"]
    return next((each for each in ended if each in ("Complete", "Failed")), "")


def manifests(prefix: str, *files: str) -> list[Thing]:
    """The objects of files of ``examples``, for whichever namespace, and volumes whose class has that prefix."""
    found = [each for file in files for each in yaml.safe_load_all(shipped(f"examples/{file}").read_text())]
    for each in found:
        each["metadata"].pop("namespace", None)
        if each["kind"] == "PersistentVolumeClaim":
            each["spec"]["storageClassName"] = f"{prefix}{CLASS}"
    return [each for each in found if each["kind"] != "Namespace"]
