"""Patroni is asked for another leader as ``patronictl switchover`` asks: in its failover object.

Source: Patroni ``patroni/dcs/kubernetes.py`` (names and annotations of its objects, ``manual_failover``,
``touch_member``) and ``patroni/ha.py`` (``process_manual_failover_from_leader``: the leader steps down if it is the one
that is named and somebody healthy is there, and takes the request back in any other case).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from incident_operator.actions import guards
from incident_operator.actions.contract import Occasion, plain
from incident_operator.actions.patches import escaped, is_there, patch, put, ref_of, swap, test
from incident_operator.api import names
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Manifest,
    Ref,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import annotations_of, is_leaving, labels_of, pods_of

VERB = "fail over"
OBJECTS = ("endpoints", "configmaps")
RULES = (
    Rule("", OBJECTS, ("get", "create", "patch"), "see who leads, and ask Patroni for another leader", "patroni.yaml"),
)
"""Not in every responder's Role: who may write Endpoints and ConfigMaps may lead any Service, and any workload, astray.

Kubernetes itself took Endpoints out of its role ``edit`` (CVE-2021-25740).
"""
ASKS = tuple(Rule("", (each,), (verb,)) for each in OBJECTS for verb in ("create", "patch"))
LEADERS = {"Endpoints": "{}", "ConfigMap": "{}-leader"}
"""Who leads is kept in one of these, as ``use_endpoints`` says; all other objects are of the same kind."""
LED = frozenset({"leader", "renewTime"})
"""A Service's Endpoints have neither."""
ASKED = ("leader", "member", "scheduled_at")
MARK = names.INCIDENT_UID
"""Tells our request, which Patroni takes back when it has followed it, from none: it leaves other annotations be."""
PRIMARY = frozenset({"primary", "master"})
LEADING = PRIMARY | {"standby_leader"}
ANNOTATIONS = "/metadata/annotations"


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """What a member says of itself, in an annotation of its pod."""

    name: str
    role: str
    timeline: int
    position: int
    why_not: str
    """Why it cannot take over; empty if nothing is known."""


async def request(reader: Reader, occasion: Occasion, target: Ref, form: Mapping[str, Any]) -> Change:
    """The request for another leader; Refused where nobody could take over, or another request waits."""
    scope = str(form.get("scope") or "")
    if not scope:
        raise Refused("Invalid", "failover.patroni needs scope: the name of the cluster in Patroni's configuration")
    workload = await reader.get(target.kind, target.namespace, target.name)
    guards.refuse_protected(VERB, workload)
    lock = await _lock(reader, target.namespace, scope)
    selector = plain(workload["spec"].get("selector") or {})
    pods, asked, sync = await asyncio.gather(
        reader.list("Pod", target.namespace, selector),
        reader.find(lock["kind"], target.namespace, f"{scope}-failover"),
        reader.find(lock["kind"], target.namespace, f"{scope}-sync"),
    )
    leader = annotations_of(lock).get("leader", "")
    members = [_member(pod) for pod in pods_of(workload, pods)]
    chosen = str(form.get("to") or "")
    if chosen and chosen == leader:
        return _nothing(lock, scope, leader, f"{scope}: {leader} is the leader already")
    best = _chosen(scope, members, chosen, leader, _synchronous(sync))
    change = _asking(occasion, lock, asked, scope, (leader, best.name))
    return dataclasses.replace(change, after={**change.after, "selector": selector})


async def _lock(reader: Reader, namespace: str, scope: str) -> Manifest:
    """The object that says who leads."""
    found = await asyncio.gather(*(reader.find(kind, namespace, LEADERS[kind].format(scope)) for kind in LEADERS))
    there = [{**each, "kind": kind} for kind, each in zip(LEADERS, found, strict=True) if each and _is_lock(each)]
    if len(there) == 1:
        return there[0]
    where = " and ".join(f"{kind} {name.format(scope)}" for kind, name in LEADERS.items())
    if there:
        raise Refused(
            "Ambiguous",
            f"could not {VERB} {scope}: both {where} say who leads; delete the one that Patroni does not use any more",
        )
    raise Refused(
        "NoPatroni",
        f"could not {VERB} {scope}: neither {where.replace(' and ', ' nor ')} of namespace {namespace} says who leads; "
        "failover.patroni.scope must be the scope of a Patroni that keeps its state in Kubernetes",
    )


def _is_lock(thing: Manifest) -> bool:
    return not LED.isdisjoint(annotations_of(thing))


def _member(pod: Manifest) -> Member:
    """A member; one that does not run, or says nothing that can be read, cannot take over."""
    name = pod["metadata"]["name"]
    try:
        said = json.loads(annotations_of(pod).get("status", ""))
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Member(name, "", 0, 0, "says nothing of itself")
    tags, state = said.get("tags"), said.get("state")
    why = ""
    if is_leaving(pod) or (pod.get("status") or {}).get("phase") != "Running":
        why = "its pod does not run"
    elif state != "running":
        why = f"it is {state or 'in no known state'}"
    elif isinstance(tags, dict) and tags.get("nofailover"):
        why = "it is tagged nofailover"
    return Member(name, str(said.get("role") or ""), _number(said, "timeline"), _number(said, "xlog_location"), why)


def _number(said: Mapping[str, Any], key: str) -> int:
    found = said.get(key)
    return found if isinstance(found, int) else 0


def _synchronous(sync: Manifest | None) -> frozenset[str]:
    """The members that have what the leader has acknowledged; empty without synchronous mode."""
    said = annotations_of(sync).get("sync_standby", "") if sync else ""
    return frozenset(each.strip() for each in said.split(",") if each.strip())


def _chosen(scope: str, members: Sequence[Member], to: str, leader: str, sync: frozenset[str]) -> Member:
    """The one that is named, or the replica that is furthest, a synchronous one first."""
    others = [each for each in members if each.name != leader and each.role not in LEADING]
    told = ", ".join(f"{each.name} ({each.why_not or 'well'})" for each in others) or "none"
    fit = [each for each in others if not each.why_not and to in ("", each.name)]
    if not fit:
        who = f" to {to}: it cannot" if to else ": no replica can"
        raise Refused(
            "NoReplica",
            f"could not {VERB} {scope}{who} take over from {leader or 'the leader'}; replicas are {told}; "
            "name another in failover.patroni.to, or restore",
        )
    return max(
        sorted(fit, key=lambda each: each.name), key=lambda each: (each.name in sync, each.timeline, each.position)
    )


def _asking(occasion: Occasion, lock: Manifest, asked: Manifest | None, scope: str, who: tuple[str, str]) -> Change:
    """The failover object as ``manual_failover`` writes it, made where there is none yet."""
    leader, member = who
    mark = f"{occasion.uid}/{occasion.step}"
    wanted = {**({"leader": leader} if leader else {}), "member": member, MARK: mark}
    there = annotations_of(asked) if asked else {}
    after = {"scope": scope, "lock": lock["kind"], "old": leader, "member": member, "mark": mark}
    if any(there.get(key) for key in ASKED):
        same = there.get("member") == member and not there.get("scheduled_at")
        if not same or there.get("leader", leader) != leader:
            raise Refused(
                "FailoverPending",
                f"could not {VERB} {scope} to {member}: another request waits (leader {there.get('leader') or 'any'}, "
                f"member {there.get('member') or 'any'}, at {there.get('scheduled_at') or 'once'}); see "
                "patronictl list, and take a planned one back with patronictl flush",
            )
        change = _nothing(lock, scope, leader, f"{scope}: Patroni is asked for {member} already")
        return dataclasses.replace(change, after={**after, "already": True})
    if asked is None:
        ref = Ref(lock["kind"], f"{scope}-failover", lock["metadata"]["namespace"])
        # Patroni sees only what has its own labels, which it keeps on the lock, too.
        meta = {"name": ref.name, "namespace": ref.namespace, "labels": dict(labels_of(lock)), "annotations": wanted}
        write = Request("create", ref, {"apiVersion": "v1", "kind": ref.kind, "metadata": meta})
    else:
        ref = ref_of(asked, lock["kind"])
        write = patch(ref, _operations(asked, wanted))
    return Change(
        key=f"{ref.kind}/{ref.name}",
        target=ref,
        request=write,
        before={},
        after=after,
        summary=f"Patroni {scope}: leader {leader or 'nobody'} -> {member}",
        notes=("what the replica has not received yet is lost", "Patroni itself may decline; it is then left as it is"),
        traits=("Destructive",),
    )


def _operations(asked: Manifest, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """The annotations, if nobody has asked for anything since."""
    if asked["metadata"].get("annotations") is None:
        return put(None, ANNOTATIONS, wanted)
    free = [test(f"{ANNOTATIONS}/{key}", None) for key in ASKED]
    old = annotations_of(asked)
    mark = swap(f"{ANNOTATIONS}/{escaped(MARK)}", old.get(MARK), wanted[MARK])
    added = [
        {"op": "add", "path": f"{ANNOTATIONS}/{key}", "value": value} for key, value in wanted.items() if key != MARK
    ]
    return [*free, *mark, *added]


def _nothing(lock: Manifest, scope: str, leader: str, summary: str) -> Change:
    """It is so already."""
    ref = ref_of(lock)
    after = {"scope": scope, "lock": ref.kind, "old": leader, "member": leader, "already": True, "selector": {}}
    return Change(key=f"{ref.kind}/{scope}-failover", target=ref, request=None, before={}, after=after, summary=summary)


def standing(change: Change, current: Manifest | None) -> Standing:
    """By our mark: the request itself Patroni takes back when it has followed it."""
    if current is None:
        return Standing.GONE if change.target.uid else Standing.BEFORE
    if change.target.uid and not is_there(change.target, current):
        return Standing.GONE
    there = annotations_of(current)
    if change.after.get("already") or there.get(MARK) == change.after["mark"]:
        return Standing.AFTER
    return Standing.OTHER if any(there.get(key) for key in ASKED) else Standing.BEFORE


def undo(change: Change, current: Manifest) -> Request | None:
    """A request that Patroni has not taken up yet is withdrawn, so that none comes about later."""
    there = annotations_of(current)
    if change.after.get("already") or there.get("member") != change.after["member"]:
        return None
    gone = [(key, there[key]) for key in ASKED if there.get(key)]
    operations = [each for key, value in gone for each in swap(f"{ANNOTATIONS}/{key}", value, None)]
    return patch(ref_of(current, change.target.kind), operations)


async def settlement(reader: Reader, change: Change) -> Settlement:
    """The chosen member leads, and says itself that it is the primary."""
    after, namespace = change.after, change.target.namespace
    scope, wanted, kind = after["scope"], after["member"], after["lock"]
    # The request first: Patroni takes it back after the new leader has the lock, never before.
    asked = await reader.find(kind, namespace, f"{scope}-failover")
    lock = await reader.find(kind, namespace, LEADERS[kind].format(scope))
    if lock is None or not _is_lock(lock):
        return failed("TargetGone", f"{kind} {LEADERS[kind].format(scope)} does not say any more who leads {scope}")
    leader = annotations_of(lock).get("leader", "")
    if leader == wanted:
        return await _leads(reader, change, wanted)
    if leader not in ("", after["old"]):
        return failed("Reverted", f"Patroni {scope}: {leader} leads, and not {wanted}; see patronictl history")
    if asked is not None and annotations_of(asked).get("member") == wanted:
        return pending(f"Patroni {scope}: asked for {wanted}; {leader or 'nobody'} leads still")
    if not leader:
        return pending(f"Patroni {scope}: nobody leads yet")
    return failed(
        "FailoverDeclined",
        f"Patroni {scope}: {leader} leads still, and has taken the request for {wanted} back without following it; "
        "its log says why (not reachable, too far behind, not synchronous)",
    )


async def _leads(reader: Reader, change: Change, wanted: str) -> Settlement:
    """It has the lock; whether it is promoted it says itself."""
    scope = change.after["scope"]
    if change.after["old"] == wanted:
        return settled(f"Patroni {scope}: {wanted} leads, as before", {"primary": wanted})
    pods = await reader.list("Pod", change.target.namespace, change.after["selector"])
    member = next((_member(pod) for pod in pods if pod["metadata"]["name"] == wanted), None)
    if member is not None and member.role in PRIMARY and not member.why_not:
        return settled(f"Patroni {scope}: {wanted} leads and is the primary", {"primary": wanted})
    return pending(f"Patroni {scope}: {wanted} leads, and is being promoted")
