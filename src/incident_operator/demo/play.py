"""Plays the two incidents, and proves what came of them."""

from __future__ import annotations

import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from incident_operator.demo.api import Api
from incident_operator.demo.client import OK, Client
from incident_operator.demo.scene import NAMESPACE, Scene, shipped
from incident_operator.demo.view import Status, await_plan, condition, follow, show_plan
from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for
from incident_operator.lab.progress import doing

INCIDENTS = f"/apis/incident-operator.dev/v1alpha1/namespaces/{NAMESPACE}/incidents"
GOOD, BAD = "2.3.0", "2.3.1"


def bad_deploy(scene: Scene) -> None:
    """A version that answers 500 is rolled out; an Incident takes it back. LabError if the proof does not hold."""
    lab, real = scene.lab, scene.is_real
    api = Api(lab.kubeconfig)
    client = Client(lab.kubeconfig, NAMESPACE, "api:http", "/orders")

    def seen() -> str:
        return f"the client sees: {client.lately()}" if real else ""

    try:
        if real:
            wait_for(lambda: client.good_from(0) is not None, 30, "the first good answers of the api")
        print(f"\n4. A bad deploy: version {BAD} of the api answers 500 while its probes stay green", flush=True)
        lab.kubectl("set", "env", "-n", NAMESPACE, "deployment/api", f"VERSION={BAD}", "BREAK=errors")
        with doing("rolling out the bad version"):
            lab.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/api", "--timeout=90s")
        broken = time.time()
        time.sleep(1)
        print(f"   it is out; {seen()}".rstrip("; "), flush=True)
        print("\n   $ kubectl apply -f examples/incidents/bad-deploy.yaml      (in mode Observe, to see its plan)")
        scene.apply(_incident(scene, "bad-deploy.yaml", mode="Observe"))
        show_plan(await_plan(api, f"{INCIDENTS}/api-5xx"))
        print('\n   $ kubectl patch inc/api-5xx --type merge -p \'{"spec":{"mode":"Enforce"}}\'', flush=True)
        enforce = '{"spec":{"mode":"Enforce"}}'
        lab.kubectl("patch", "-n", NAMESPACE, "incident/api-5xx", "--type=merge", "-p", enforce)
        made = time.time()
        incident = follow(api, f"{INCIDENTS}/api-5xx", made, beside=seen)
        time.sleep(1)
        _prove(scene, incident, client, (broken, made))
    finally:
        client.close()


def _incident(scene: Scene, name: str, *, mode: str) -> Path:
    """The example in another mode; where pods are simulated, without the check that needs a real answer."""
    told: dict[str, Any] = yaml.safe_load(shipped(f"examples/incidents/{name}").read_text())
    told["spec"]["mode"] = mode
    if not scene.is_real:
        told["spec"]["verification"] = [each for each in told["spec"].get("verification", ()) if "http" not in each]
        print("   (without its http check, because simulated pods answer nothing)", flush=True)
    made = Path(tempfile.mkdtemp()) / name
    made.write_text(yaml.safe_dump(told))
    return made


def _prove(scene: Scene, incident: Status, client: Client, times: tuple[float, float]) -> None:
    """Print the proof; LabError where it does not hold."""
    status, reason, message = condition(incident, "Ready")
    if status != "True":
        raise LabError(f"the Incident was not resolved: {reason}: {message}")
    deployment = scene.lab.kubectl("get", "deployment/api", "-n", NAMESPACE, "-o", "yaml").stdout
    env = yaml.safe_load(deployment)["spec"]["template"]["spec"]["containers"][0]["env"]
    version = next(each["value"] for each in env if each["name"] == "VERSION")
    begun, timers = times[1], incident["status"]["timers"]
    print("\n   PROOF", flush=True)
    print(f"   version of the api       {BAD} before, {version} after", flush=True)
    if version != GOOD:
        raise LabError(f"the api is on {version}, not on {GOOD}")
    if scene.is_real:
        broken, made = times
        before = client.between(broken, made)
        good = client.good_from(made)
        if good is None or OK in before:
            raise LabError(f"requests do not prove it: before {before}, good again: {good}")
        after = client.between(good, time.time())
        print(f"   requests before          {before.count(OK)} of {len(before)} good", flush=True)
        print(f"   requests after           {sum(each == OK for each in after)} of {len(after)} good", flush=True)
        print(f"   go-ahead to good answers {good - made:.1f} s, as the client saw it", flush=True)
    for name in ("contained", "recovered", "resolved"):
        took = max(datetime.fromisoformat(timers[name]).timestamp() - begun, 0)
        print(f"   go-ahead to {name:<12} {took:.0f} s, as status.timers has it (whole seconds)", flush=True)


def compromised_pod(scene: Scene) -> None:
    """A pod is isolated, the Incident says what that is worth, and deleting it gives everything back."""
    lab = scene.lab
    api = Api(lab.kubeconfig)
    print("\n5. A compromised pod: bot-0 is to be cut off the network", flush=True)
    print("\n   $ kubectl apply -f examples/incidents/compromised-pod.yaml", flush=True)
    scene.apply(shipped("examples/incidents/compromised-pod.yaml"))
    incident = follow(api, f"{INCIDENTS}/compromised-bot", time.time(), beside=lambda: "", seconds=60)
    facts = incident["status"]["steps"][0].get("facts", {})
    status, reason, _ = condition(incident, "Ready")
    policies = _policies(scene)
    print("\n   PROOF", flush=True)
    print(f"   isolation                {facts.get('isolation', 'none')}", flush=True)
    print(f"   Ready                    {status} ({reason})", flush=True)
    print(f"   NetworkPolicy            {', '.join(policies) or 'none'}", flush=True)
    if not policies:
        raise LabError("no NetworkPolicy was made")
    if facts.get("isolation") != "Full" and status == "True":
        raise LabError("the Incident claims an isolation that was not proved")
    if facts.get("isolation") == "NotEnforced":
        print(
            "   The lab's network enforces no NetworkPolicy, and the operator says so rather than claim a success.",
            flush=True,
        )
    print("\n   $ kubectl delete incident/compromised-bot   (puts back what it did)", flush=True)
    lab.kubectl("delete", "incident/compromised-bot", "-n", NAMESPACE, "--timeout=60s")
    if _policies(scene):
        raise LabError("the NetworkPolicy is still there after the Incident was deleted")
    print("   the NetworkPolicy is gone", flush=True)


def _policies(scene: Scene) -> list[str]:
    return scene.lab.kubectl("get", "networkpolicy", "-n", NAMESPACE, "-o", "name").stdout.split()


def what_next(scene: Scene) -> None:
    """What to type next."""
    table = scene.lab.kubectl("get", "inc", "-A").stdout
    print(f"""
{table}
What to type next:
  export KUBECONFIG={scene.lab.kubeconfig} PATH={scene.lab.directory}/bin:$PATH
  kubectl get inc -A -o wide
  kubectl describe incident/api-5xx -n {NAMESPACE}
  kubectl explain incident.spec
  kubectl apply -f examples/incidents/reduce-load.yaml
  make demo-down          takes it all away""")
