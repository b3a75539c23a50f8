"""The catalogue: what is in it, and that the rights that each action declares are those it uses."""

from __future__ import annotations

import pytest

from incident_operator.actions.catalogue import CATALOGUE
from incident_operator.actions.contract import Action
from incident_operator.api.steps import ACTIONS
from incident_operator.cluster.fake import Call, FakeCluster
from incident_operator.cluster.resources import resource
from incident_operator.faults import Fault
from incident_operator.planning.plan import Release
from unit.actions.objects import OCCASION, SINCE, done, later, pod, revision, target, workload


class Recorder(FakeCluster):
    """Notes every right that is used, as the API server would ask for it."""

    def __init__(self, *objects: dict[str, object], groups: tuple[str, ...] = ()) -> None:
        super().__init__(*objects, groups=groups)
        self.used: set[tuple[str, str, str]] = set()
        self.on_call(self._use)

    def _use(self, call: Call) -> None:
        found = resource(call.ref.kind)
        plural = f"{found.plural}/{call.subresource}" if call.subresource else found.plural
        self.used.add((found.group, plural, call.verb))


def declared(action: Action) -> set[tuple[str, str, str]]:
    return {(rule.group, what, verb) for rule in action.rules for what in rule.resources for verb in rule.verbs}


async def exercise(fake: Recorder, action: Action, thing: dict[str, object], params: dict[str, object]) -> None:
    """Plan, make, look again as the engine does after a refused precondition, settle, and put back."""
    try:
        changes = await action.plan(fake, OCCASION, target(thing), params)
    except Fault:
        return
    for change in changes:
        if change.request is not None:
            await fake.send(change.request)
    found = await action.settle(fake, done(changes), since=SINCE, now=later(60))
    for change in (*changes, *found.further):
        current = await fake.find(change.target.kind, change.target.namespace, change.target.name)
        assert current is not None
        request = change.request if change in found.further else action.undo(change, current)
        if request is not None and change.request is not None:
            await fake.send(request)


def hpa(*, keda: bool) -> dict[str, object]:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    kind = "ScaledObject" if keda else "HorizontalPodAutoscaler"
    spec = {"scaleTargetRef": ref, "maxReplicas": 9, "minReplicas": 2}
    return {"kind": kind, "metadata": {"name": "api", "namespace": "shop", "uid": kind}, "spec": spec}


def a_batch(kind: str, *, suspend: bool) -> dict[str, object]:
    """A CronJob or a Job that goes on, or does not."""
    meta = {"name": "api", "namespace": "shop", "uid": f"{kind}-uid"}
    spec = {"suspend": suspend, "selector": {"matchLabels": {"app": "api"}}}
    return {"apiVersion": "batch/v1", "kind": kind, "metadata": meta, "spec": spec, "status": {}}


PARAMS: dict[str, dict[str, object]] = {"scale": {"replicas": 1}}


ELSEWHERE = {"runJob", "snapshotVolumes", "restore", "failover"}
"""Their rights depend on what they are asked for: test_data_rights, test_failover."""


@pytest.mark.parametrize("name", sorted(CATALOGUE.keys() - ELSEWHERE))
async def test_the_declared_rights_are_sufficient_and_necessary(name: str) -> None:
    action = CATALOGUE[name]
    used: set[tuple[str, str, str]] = set()
    params = PARAMS.get(name, {})
    for kind in sorted(action.kinds):
        if kind == "Pod":
            owner = workload()
            thing = pod(owner, "api-x")
            fake = Recorder(owner, revision(owner, 1), thing)
        elif kind in ("CronJob", "Job"):
            thing = a_batch(kind, suspend=name == "resume")
            fake = Recorder(thing)
        else:
            thing = workload(kind, version="2")
            broken = pod(thing, "api-0", 2, ready=False)
            fake = Recorder(
                thing,
                revision(thing, 1),
                revision(thing, 2),
                broken,
                hpa(keda=False),
                hpa(keda=True),
                groups=("keda.sh",),
            )
            if kind == "StatefulSet":
                fake.at(kind, "api")["status"] |= {"observedGeneration": 9, "updateRevision": "api-h1"}
        await exercise(fake, action, thing, params)
        used |= fake.used
    assert used == declared(action)


def test_it_has_what_the_api_offers_under_its_own_name() -> None:
    assert set(CATALOGUE) == set(ACTIONS)
    assert all(action.name == name for name, action in CATALOGUE.items())
    assert all(rule.why for action in CATALOGUE.values() for rule in action.rules)


def test_a_rollback_is_never_rolled_forward_again_and_the_others_go_back() -> None:
    assert {name: action.release for name, action in CATALOGUE.items()} == {
        "rolloutUndo": Release.NEVER,
        "scale": Release.ON_RESOLVE,
        "isolate": Release.ON_RESOLVE,
        "rolloutRestart": Release.NEVER,
        "suspend": Release.ON_RESOLVE,
        "resume": Release.NEVER,
        "pauseAutoscaling": Release.ON_RESOLVE,
        "runJob": Release.NEVER,
        "snapshotVolumes": Release.NEVER,
        "restore": Release.NEVER,
        "failover": Release.NEVER,
    }
    reversible = {name for name, action in CATALOGUE.items() if action.reversible}
    assert reversible == {"scale", "isolate", "suspend", "resume", "pauseAutoscaling", "restore"}
