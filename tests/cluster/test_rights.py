"""The declared rights on a real API server: with exactly these it works; without any one of them, that one is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.rights_world import Accounts, Right, accounts, build, install_keda, ready_nowhere
from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.actions.contract import Action, Occasion
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.gateway import ClusterGateway, Gateway
from incident_operator.faults import Conflict, Fault
from incident_operator.planning.authorship import is_of_another
from incident_operator.planning.plan import Change, Entry, EntryState, Ref, Release, Request, Verdict
from tests_support.cluster import Kubectl, Namespace
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster
PODS = ("Deployment", "StatefulSet", "DaemonSet", "Pod", "a pod of the Deployment")
PARAMS: dict[str, dict[str, Any]] = {"scale": {"replicas": 3}}
CHECK_PARAMS: dict[str, dict[str, Any]] = {
    "http": {"service": "web", "port": "80"},
    "job": {"cronJob": "nightly"},
    "logs": {"patterns": ["error"]},
    "tcp": {"service": "web", "port": "80"},
}
WATCHED = (
    "deployments,statefulsets,daemonsets,pods,networkpolicies,horizontalpodautoscalers,scaledobjects.keda.sh,"
    "cronjobs,jobs"
)


@pytest.fixture(scope="module")
def keda(kubectl: Kubectl) -> Iterator[None]:
    """A cluster that serves ScaledObjects; nothing acts on them."""
    was_us = install_keda(kubectl)
    yield
    if was_us:
        kubectl("delete", "crd", "scaledobjects.keda.sh", "--timeout=30s")
        eventually(
            lambda: "keda.sh" not in kubectl("get", "--raw", "/apis"), within=30, what="KEDA to be served no more"
        )


class Refusals:
    """What an identity was refused."""

    def __init__(self, hands: Gateway) -> None:
        self.hands = hands
        self.words: set[str] = set()

    async def tried(self, act: Callable[[Gateway], Awaitable[Any]]) -> Any:
        """What came of it; None if it was forbidden. Any other fault is for the caller."""
        try:
            return await act(self.hands)
        except Fault as fault:
            if fault.reason != "Forbidden":
                raise
            self.words.add(fault.message)
            return None

    async def would_send(self, request: Request | None) -> None:
        """Whether it may make a write; nothing is changed by asking."""
        if request is None:
            return
        if request.verb != "delete":
            await self.tried(lambda hands: hands.send(request, dry_run=True))
            return
        other = dataclasses.replace(request, ref=dataclasses.replace(request.ref, uid="another"))
        try:
            await self.tried(lambda hands: hands.send(other))
        except Conflict:
            return  # it may, but not this one


@dataclasses.dataclass
class Trial:
    """One action on all kinds of targets that it works on."""

    action: Action
    targets: list[Ref]
    occasion: Occasion
    begun: datetime

    def params(self) -> dict[str, Any]:
        return PARAMS.get(self.action.name, {})

    async def plans(self, refusals: Refusals) -> list[tuple[Change, ...]]:
        found = []
        for target in self.targets:
            made = await refusals.tried(
                lambda hands, target=target: self.action.plan(hands, self.occasion, target, self.params())
            )
            found.append(made or ())
        return found

    async def before(self, hands: Gateway) -> set[str]:
        """Plan, and ask for every write of the plan."""
        refusals = Refusals(hands)
        for changes in await self.plans(refusals):
            for change in changes:
                await refusals.would_send(change.request)
        return refusals.words

    async def make(self, hands: Gateway) -> list[tuple[Entry, ...]]:
        """Plan and write, with all rights; the entries as the engine keeps them."""
        refusals = Refusals(hands)
        plans = await self.plans(refusals)
        made = [tuple([await self._made(refusals, change) for change in changes]) for changes in plans]
        assert not refusals.words, f"the declared rights are not enough: {refusals.words}"
        return made

    async def _made(self, refusals: Refusals, change: Change) -> Entry:
        state, request = EntryState.SKIPPED, change.request
        if request is not None:
            answer = await refusals.tried(lambda hands: hands.send(request))
            assert not is_of_another(answer, request, names.FIELD_MANAGER), "our own write is taken for somebody else's"
            if request.verb == "create":
                uid = answer["metadata"]["uid"]
                change = dataclasses.replace(change, target=dataclasses.replace(change.target, uid=uid))
            state = EntryState.DONE
        stamp = f"{self.begun:%Y-%m-%dT%H:%M:%SZ}"
        return Entry("step", self.action.name, change, Release.ON_RESOLVE, state, done_at=stamp)

    async def after(self, hands: Gateway, made: list[tuple[Entry, ...]]) -> set[str]:
        """Settle long after, and ask for what is still to be written, and for what puts it back."""
        refusals, later = Refusals(hands), self.begun + timedelta(minutes=5)
        for entries in made:
            found = await refusals.tried(
                lambda who, entries=entries: self.action.settle(who, entries, since=self.begun, now=later)
            )
            for change in found.further if found else ():
                await self._undo_or_send(refusals, change, change.request)
            for entry in entries:
                await self._undo_or_send(refusals, entry.change, None)
        return refusals.words

    async def _undo_or_send(self, refusals: Refusals, change: Change, request: Request | None) -> None:
        """As the engine does it: the object is read first, always."""
        target = change.target
        current = await refusals.tried(lambda hands: hands.find(target.kind, target.namespace, target.name))
        if request is None and current is not None:
            request = self.action.undo(change, current)
        await refusals.would_send(request)


def said(namespace: Namespace) -> dict[str, Any]:
    """What there is as its owner wants it; not the pods and the marks that controllers make of it in their own time."""
    items = namespace.kubectl.json("-n", namespace.name, "get", WATCHED)["items"]
    return {
        f"{each['kind']}/{each['metadata']['name']}": _wanted(each)
        for each in items
        if each["kind"] != "Pod" or each["metadata"]["name"] in ("bare", "db-0")
    }


def _wanted(thing: Any) -> tuple[Any, ...]:
    meta = thing["metadata"]
    told = {key: value for key, value in (meta.get("annotations") or {}).items() if names.GROUP in key or "keda" in key}
    spec = None if thing["kind"] == "Pod" else thing.get("spec")
    return meta["uid"], spec, meta.get("labels"), told, "deletionTimestamp" in meta


def judge(refused: dict[Right, set[str]]) -> None:
    """Without a right something is refused, and each refusal names that right and no other."""
    unneeded = [right for right, words in refused.items() if not words]
    assert not unneeded, f"declared, and not needed: {unneeded}"
    misnamed = {right: words for right, words in refused.items() if not all(right.words in each for each in words)}
    assert not misnamed, misnamed


def targets_of(action: Action, world: dict[str, Ref]) -> list[Ref]:
    return [ref for ref in world.values() if ref.kind in action.kinds]


BY_FORM = {"runJob", "snapshotVolumes", "restore", "failover"}
"""Their rights depend on what they are asked for: unit/actions/test_data_rights, cluster/test_data_incidents."""


@pytest.mark.parametrize("name", sorted(ACTIONS.keys() - BY_FORM))
async def test_an_action_needs_exactly_its_declared_rights(
    keda: None, cluster: ClusterGateway, namespace: Namespace, name: str
) -> None:
    action = ACTIONS[name]
    world = build(namespace)
    if name == "resume":
        namespace("patch", "cronjob/nightly", "job/once", "-p", '{"spec":{"suspend":true}}')
    who: Accounts = await accounts(cluster, namespace, action.rules)
    occasion = Occasion(namespace.name, "rights", "uid-of-the-incident", "step")
    trial = Trial(action, targets_of(action, world), occasion, datetime.now(UTC))
    begins = said(namespace)
    refused = {right: await trial.before(hands) for right, hands in who.without.items()}
    assert said(namespace) == begins, "a plan or a dry run changed something"
    made = await trial.make(who.full)
    assert await trial.after(who.full, made) == set(), "the declared rights are not enough to settle and put back"
    stands = said(namespace)
    for right, hands in who.without.items():
        refused[right] |= await trial.after(hands, made)
    assert said(namespace) == stands, "a refused write changed something"
    judge(refused)


@pytest.mark.parametrize("name", sorted(CHECKS.keys() - {"sql"}))
async def test_a_check_needs_exactly_its_declared_rights(
    keda: None, cluster: ClusterGateway, namespace: Namespace, name: str
) -> None:
    check, world = CHECKS[name], build(namespace)
    who = await accounts(cluster, namespace, check.rules)
    kinds = {"rollout": ("Deployment", "StatefulSet", "DaemonSet")}.get(name, PODS)
    # One target at a time: a check says no more than that it could not see, and why.
    groups = [()] if name in ("http", "tcp", "job", "confirm") else [(world[kind],) for kind in kinds]
    if name == "podsReady":  # a right is asked for before it is known whether the kind is served
        groups.append((Ref("Cluster", "pg", namespace.name),))
    looks = Looks(check, namespace.name, groups)
    assert await looks.words(who.full) == set(), "the declared rights are not enough"
    judge({right: await looks.words(hands) for right, hands in who.without.items()})


@dataclasses.dataclass
class Looks:
    """One check on one group of targets after the other."""

    check: Any
    namespace: str
    groups: list[tuple[Ref, ...]]

    async def words(self, hands: Gateway) -> set[str]:
        """What it was refused; then it says that it does not know."""
        params = CHECK_PARAMS.get(self.check.name, {})
        found = [
            await self.check.look(hands, self.namespace, each, params, since=datetime.now(UTC)) for each in self.groups
        ]
        unseen = {each.message for each in found if "Forbidden" in each.message}
        assert all(each.verdict is Verdict.UNKNOWN for each in found if each.message in unseen)
        return unseen


async def test_the_check_sql_needs_exactly_its_declared_rights(
    keda: None, cluster: ClusterGateway, namespace: Namespace
) -> None:
    world = build(namespace) | ready_nowhere(namespace)
    who = await accounts(cluster, namespace, CHECKS["sql"].rules)
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "Pod")
    looks = Looks(CHECKS["sql"], namespace.name, [(world[kind],) for kind in kinds])
    assert await looks.words(who.full) == set(), "the declared rights are not enough"
    refused = {right: await looks.words(hands) for right, hands in who.without.items()}
    # An API server asks for one of the two verbs, for which depends on its version: the other is declared for others.
    ways = [right for right in refused if right.resource == "pods/exec"]
    assert sorted(right.verb for right in ways) == ["create", "get"]
    spare = [right for right in ways if not refused[right]]
    assert len(spare) <= 1, "without either nothing could be run"
    judge({right: words for right, words in refused.items() if right not in spare})
