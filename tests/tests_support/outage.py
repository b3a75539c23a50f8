"""The application of examples/outage in a namespace of a test: its volumes, its Jobs, its database."""

from __future__ import annotations

import json
from typing import Any

import yaml

from incident_operator.demo.volumes import CLASS, make_volumes
from incident_operator.lab import Lab
from incident_operator.lab.postgres_image import postgres_image
from tests_support.cluster import ROOT, Namespace
from tests_support.waiting import eventually
from tests_support.workloads import rollout

ABOVE = ("deployment/api", "deployment/bot", "deployment/frontend", "deployment/exporter")
WORKLOADS = ("statefulset/db", *ABOVE)


def manifests(namespace: Namespace, *files: str) -> list[dict[str, Any]]:
    """The objects of files of examples/outage, for this namespace and volumes of its own."""
    found = [each for file in files for each in yaml.safe_load_all((ROOT / "examples/outage" / file).read_text())]
    for each in found:
        each["metadata"].pop("namespace", None)
        if each["kind"] == "PersistentVolumeClaim":
            each["spec"]["storageClassName"] = f"{namespace.name}-{CLASS}"
    return [each for each in found if each["kind"] != "Namespace"]


def start(lab: Lab, namespace: Namespace) -> None:
    """Bring images and volumes, and start the application but for its replica."""
    lab.import_image(postgres_image())
    make_volumes(lab, f"{namespace.name}-")
    namespace.apply(*manifests(namespace, "application.yaml", "jobs.yaml"))


def bring_up(lab: Lab, namespace: Namespace) -> None:
    """Start the application and wait until all of it is ready."""
    start(lab, namespace)
    for what in WORKLOADS:
        rollout(namespace, what, within=120)


def psql(namespace: Namespace, query: str, *, pod: str = "db-0", **given: int) -> str:
    """One answer of the database, asked for inside its pod; ``:n`` in the query stands for what is given as ``n``."""
    variables = [f"--set={name}={value}" for name, value in given.items()]
    program = ["psql", "-XAtqU", "postgres", "-d", "app", "--set=ON_ERROR_STOP=1", *variables]
    return namespace("exec", "-i", pod, "--", *program, given=query).strip()


def ask(namespace: Namespace, path: str, *, service: str = "frontend") -> Any:
    """What a Service answers to a GET, by way of the API server; None if it does not answer well."""
    proxy = f"/api/v1/namespaces/{namespace.name}/services/http:{service}:http/proxy{path}"
    done = namespace.kubectl.run("get", "--raw", proxy)
    return json.loads(done.stdout) if done.returncode == 0 else None


def run_job(namespace: Namespace, cron_job: str, name: str, *, within: float = 120) -> tuple[bool, str]:
    """Run a Job of a CronJob to its end; whether it completed, and what it said."""
    namespace("create", "job", f"--from=cronjob/{cron_job}", name)

    def verdict() -> str:
        status = namespace.get("job", name).get("status", {})
        ended = [each["type"] for each in status.get("conditions", []) if each["status"] == "True"]
        return next((each for each in ended if each in ("Complete", "Failed")), "")

    done = eventually(verdict, within=within, what=f"Job {name} to end")
    return done == "Complete", namespace("logs", f"job/{name}", "--all-containers")


def claim_of(namespace: Namespace, workload: str = "db") -> str:
    """The claim that the database's pod template names."""
    volumes = namespace.get("statefulset", workload)["spec"]["template"]["spec"]["volumes"]
    found: str = volumes[0]["persistentVolumeClaim"]["claimName"]
    return found
