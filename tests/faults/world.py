"""What the cluster holds of a run, without what is another in each run."""

from __future__ import annotations

import json
from typing import Any

from faults.access import Api
from faults.audit import masker
from incident_operator.planning.roles import RESUMED

World = dict[str, Any]


def _condensed(raw: Any) -> dict[str, Any]:
    """An Incident's status without times, UIDs and words for people."""
    status = (raw or {}).get("status") or {}
    return {
        "phase": status.get("phase"),
        "conditions": [[each["type"], each["status"], each["reason"]] for each in status.get("conditions") or ()],
        "steps": [[each["name"], each["phase"], each.get("reason", "")] for each in status.get("steps") or ()],
        "ledger": [
            [each["key"], each["verb"], each["state"], each["release"], each.get("before", ""), each.get("after", "")]
            for each in status.get("ledger") or ()
        ],
        "checks": [[each["name"], each["verdict"], each["passed"]] for each in status.get("verification") or ()],
        # Asking to go on after a halt is the course's own doing, and counted there.
        "timers": sorted(set(status.get("timers") or ()) - {RESUMED}),
        "finalizers": raw["metadata"].get("finalizers", []),
    }


def _marks(raw: Any) -> dict[str, Any]:
    metadata = raw["metadata"]
    return {key: metadata.get(key, {}) for key in ("labels", "annotations")}


def _deployment(raw: Any, *, autoscaled: bool) -> dict[str, Any]:
    spec = {key: value for key, value in raw["spec"].items() if key != "replicas" or not autoscaled}
    return {**_marks(raw), "spec": spec}


def snapshot(api: Api, run: str) -> World:
    """Everything of one run, and every NetworkPolicy of its namespace: an isolation left behind is everybody's."""
    hpas = [each for each in api.list("horizontalpodautoscalers") if each["metadata"]["name"] == run]
    found: World = {f"hpa {run}": each["spec"] for each in hpas}
    deployment, pod, incident = api.get("deployments", run), api.get("pods", run), api.get("incidents", run)
    uids = {api.namespace: "NAMESPACE"}
    if deployment is not None:
        uids[deployment["metadata"]["uid"]] = "UID-DEPLOYMENT"
        # An autoscaler that is let go again finds its own number, in its own time.
        found[f"deployment {run}"] = _deployment(deployment, autoscaled=bool(hpas))
        found[f"revisions {run}"] = sorted(_revision(each) for each in api.list("replicasets") if _is_of(each, run))
    above = api.get("deployments", f"{run}-api")
    if above is not None:
        uids[above["metadata"]["uid"]] = "UID-ABOVE"
        found[f"deployment {run}-api"] = _deployment(above, autoscaled=False)
    if pod is not None:
        uids[pod["metadata"]["uid"]] = "UID-POD"
        found[f"pod {run}"] = _marks(pod)
    for policy in api.list("networkpolicies"):
        found[f"policy {policy['metadata']['name']}"] = {**_marks(policy), "spec": policy["spec"]}
        uids[policy["metadata"]["uid"]] = "UID-POLICY"
    if incident is not None:
        uids[incident["metadata"]["uid"]] = "UID-INCIDENT"
        found[f"incident {run}"] = _condensed(incident)
    text = json.dumps(found, sort_keys=True)
    for uid, word in uids.items():
        text = text.replace(uid, word)
    masked: World = json.loads(masker(run)(text))
    return masked


def _is_of(replica_set: Any, run: str) -> bool:
    return any(each["name"] == run for each in replica_set["metadata"].get("ownerReferences", ()))


def _revision(replica_set: Any) -> str:
    """Revision and version of one ReplicaSet: a second undo would renumber them."""
    number = replica_set["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    env = replica_set["spec"]["template"]["spec"]["containers"][0]["env"]
    return f"{number}: version {env[0]['value']}"


def differences(reference: World, found: World) -> list[str]:
    """What is other than in the reference."""
    texts = {
        key: [json.dumps(each.get(key), sort_keys=True) for each in (found, reference)] for key in reference | found
    }
    return [f"{key}: {is_so} instead of {ought}" for key, (is_so, ought) in sorted(texts.items()) if is_so != ought]
