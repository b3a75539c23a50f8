"""What ResponsePolicies make of a plan: go, ask a person first, stop at the plan, or no.

Pure: policies and facts in, a ruling out. Of several policies the strictest holds, and
every refusal names the policy and the numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from incident_operator.planning.reach import Blast
from incident_operator.planning.selectors import matches
from incident_operator.planning.windows import Window

Mode = Literal["Observe", "Propose", "Enforce"]
MODES: Sequence[Mode] = ("Observe", "Propose", "Enforce")
BUILT_IN = "built-in"
ANY = "anyone who may create an IncidentApproval here"


@dataclasses.dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Who must say yes, how many of them, and to what; an empty condition holds for all."""

    name: str
    policy: str = BUILT_IN
    severities: Sequence[str] = ()
    types: Sequence[str] = ()
    actions: Sequence[str] = ()
    when: Sequence[str] = ()
    """Irreversible, Destructive, Guess, Unknown: what the plan has at least one of."""
    count: int = 1
    """0: nobody, which waives the rule for destructive plans where ``when`` names that trait."""
    users: Sequence[str] = ()
    groups: Sequence[str] = ()

    @property
    def who(self) -> str:
        """Who may say yes, for people."""
        parts = [*self.users, *(f"group {group}" for group in self.groups)]
        return " or ".join(parts) or ANY

    @property
    def id(self) -> str:
        """Names exactly this rule: a rule that was changed is another one."""
        told = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return f"{self.policy}/{self.name}@{hashlib.sha256(told.encode()).hexdigest()[:12]}"


@dataclasses.dataclass(frozen=True, slots=True)
class Protection:
    """Objects that no Incident touches; all conditions that are given must hold."""

    name: str
    kinds: Sequence[str] = ()
    names: Sequence[str] = ()
    namespaces: Sequence[str] = ()
    selector: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """The blast radius of one Incident; None: no limit."""

    pods: int | None = None
    pods_percent: int | None = None
    """Of all pods of the namespace, rounded down."""
    workloads: int | None = None
    workload_percent: int | None = None
    """Of the pods of each workload over the whole plan, rounded down."""
    exceeded: Literal["Refuse", "RequireApproval"] = "Refuse"


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """One ResponsePolicy, or the built-in one."""

    name: str
    selector: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_mode: Mode = "Enforce"
    allowed: Sequence[str] | None = None
    forbidden: Sequence[str] = ()
    approvals: Sequence[ApprovalRule] = ()
    protected: Sequence[Protection] = ()
    budget: Budget = dataclasses.field(default_factory=Budget)
    windows: Sequence[Window] = ()
    cooldown: timedelta = timedelta(0)
    storm: tuple[int, timedelta] | None = None
    service_account: str = ""


DESTRUCTIVE = ApprovalRule("destructive", when=("Destructive",))
"""Somebody agrees to what cannot be brought back, whatever policies there are, unless all of them say otherwise."""

BUILT_IN_POLICY = Policy(
    BUILT_IN,
    approvals=(DESTRUCTIVE,),
    protected=(Protection("control-plane", namespaces=("kube-system", "kube-public", "kube-node-lease")),),
    budget=Budget(pods=50, workloads=10, exceeded="RequireApproval"),
)
"""What holds where no ResponsePolicy selects the namespace (docs/policy.md)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Touched:
    """One object that the plan is about."""

    kind: str
    name: str
    namespace: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What a policy looks at."""

    mode: Mode
    severity: str
    type: str
    actions: Sequence[str]
    traits: frozenset[str]
    """What the plan has: Irreversible, Destructive, Guess, Unknown."""
    destructive: frozenset[str]
    """Those of its actions that are destructive, which is a trait of the plan then."""
    touched: Sequence[Touched]
    blasts: Sequence[Blast]
    now: datetime
    approval_asked: bool = False
    """A step says that it wants an approval, whatever the policies say."""
    last_touched: Mapping[str, datetime] = dataclasses.field(default_factory=dict)
    """When another Incident last wrote to an object of ``touched``."""
    enforced_since: Callable[[datetime], int] = lambda _: 0
    """How many other Incidents began to be carried out since then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A no, with the reason and the numbers."""

    reason: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ruling:
    """What may be done."""

    mode: Mode
    policies: tuple[str, ...]
    approvals: tuple[ApprovalRule, ...] = ()
    why: tuple[str, ...] = ()
    """Why the mode is lower than asked for, or why an approval is needed."""
    refusal: Refusal | None = None
    wait_until: datetime | None = None
    wait_why: str = ""
    exceeded: str = ""
    """The budget that the plan exceeds, with its numbers."""


def selected(policies: Iterable[Policy], labels: Mapping[str, str]) -> tuple[Policy, ...]:
    """The policies for a namespace with these labels, by name; the built-in one if there is none."""
    found = sorted((each for each in policies if matches(each.selector, labels)), key=lambda each: each.name)
    return tuple(found) or (BUILT_IN_POLICY,)


def judge(policies: Sequence[Policy], facts: Facts, always: Sequence[Protection] = ()) -> Ruling:
    """The strictest of what the policies say about a plan; ``always`` is protected, whatever they say."""
    names = tuple(policy.name for policy in policies)
    for policy in (Policy(BUILT_IN, protected=always), *policies):
        refusal = _forbidden(policy, facts) or _protected(policy, facts)
        if refusal is not None:
            return Ruling("Observe", names, refusal=refusal)
    mode, why = facts.mode, list[str]()
    rules: list[ApprovalRule] = []
    exceeded = ""
    for policy in policies:
        over = over_budget(policy, facts.blasts)
        if over and policy.budget.exceeded == "Refuse":
            return Ruling("Observe", names, refusal=Refusal("BlastRadiusExceeded", over), exceeded=over)
        if over:
            exceeded = exceeded or over
            rules.append(ApprovalRule("blast-radius", policy.name))
            why.append(over)
        for limit, because in _limits(policy, facts):
            if MODES.index(limit) < MODES.index(mode):
                mode = limit
                why.append(because)
        rules += [rule for rule in policy.approvals if rule.count and _applies(rule, facts)]
    rules += _besides(policies, facts, mode, is_asked=bool(rules))
    why += [f"policy {rule.policy}, rule {rule.name}: {rule.count} from {rule.who}" for rule in rules]
    until, waiting = _cooldown(policies, facts)
    return Ruling(mode, names, tuple(rules), tuple(dict.fromkeys(why)), None, until, waiting, exceeded)


def _besides(policies: Sequence[Policy], facts: Facts, mode: Mode, *, is_asked: bool) -> list[ApprovalRule]:
    """The approvals that no policy's own rule asks for; a person who is asked already need not be asked twice."""
    if facts.approval_asked:
        return [ApprovalRule("asked-for", "the Incident's own step")]
    if is_asked:
        return []
    if mode == "Propose":
        return [ApprovalRule("propose", "mode Propose")]
    is_waived = all(_waives(policy, facts) for policy in policies)
    return [DESTRUCTIVE] if "Destructive" in facts.traits and not is_waived else []


def _forbidden(policy: Policy, facts: Facts) -> Refusal | None:
    for action in facts.actions:
        if action in policy.forbidden:
            return Refusal("ActionForbidden", f"ResponsePolicy {policy.name} forbids {action}")
        if policy.allowed is not None and action not in policy.allowed:
            listed = ", ".join(policy.allowed) or "none"
            return Refusal("ActionForbidden", f"ResponsePolicy {policy.name} allows {listed}, and not {action}")
    return None


def _protected(policy: Policy, facts: Facts) -> Refusal | None:
    for each in policy.protected:
        for thing in facts.touched:
            if is_protected(each, thing):
                who = "the built-in policy" if policy.name == BUILT_IN else f"ResponsePolicy {policy.name}"
                return Refusal("Protected", f"{thing} is protected by {who} (protected: {each.name})")
    return None


def is_protected(rule: Protection, thing: Touched) -> bool:
    """Whether every condition of the rule holds for an object."""
    return (
        (not rule.kinds or thing.kind in rule.kinds)
        and (not rule.names or thing.name in rule.names)
        and (not rule.namespaces or thing.namespace in rule.namespaces)
        and (rule.selector is None or matches(rule.selector, thing.labels))
    )


def over_budget(policy: Policy, blasts: Sequence[Blast]) -> str:
    """The first limit that the blast radius is over, in words with both numbers; unknown is over any limit."""
    budget, hit = policy.budget, [blast for blast in blasts if blast.pods != 0]
    said = "the built-in policy" if policy.name == BUILT_IN else f"ResponsePolicy {policy.name}"
    limited = (budget.pods, budget.pods_percent, budget.workload_percent)
    unknown = next((blast for blast in hit if blast.pods < 0), None)
    if unknown is not None and any(limit is not None for limit in limited):
        return (
            f"{said} limits the blast radius, which is not known: {unknown}; let its ServiceAccount list what could "
            "not be listed and ask again (annotation incident-operator.dev/requested-at), or approve the plan"
        )
    groups: dict[str, list[Blast]] = defaultdict(list)
    for blast in hit:
        groups[blast.group].append(blast)
    pods, workloads = sum(map(_taken, groups.values())), len(groups)
    if budget.pods is not None and pods > budget.pods:
        return f"{said} allows {budget.pods} pods, the plan takes {pods} (blastRadius.pods)"
    if budget.workloads is not None and workloads > budget.workloads:
        return f"{said} allows {budget.workloads} workloads, the plan takes {workloads} (blastRadius.workloads)"
    total = max((blast.in_namespace for blast in hit), default=0)
    if budget.pods_percent is not None:
        most = total * budget.pods_percent // 100
        if pods > most:
            share = f"{budget.pods_percent} % of the namespace's {total} pods"
            return f"{said} allows {share}, rounded down {most}, the plan takes {pods} (blastRadius.podsPercent)"
    return "" if budget.workload_percent is None else _over_share(said, budget.workload_percent, hit)


def _taken(blasts: Sequence[Blast]) -> int:
    """The pods that a plan takes of one workload: cut off and then replaced, they are the same."""
    return min(sum(blast.pods for blast in blasts), max(blast.of for blast in blasts))


def _over_share(said: str, percent: int, hit: Sequence[Blast]) -> str:
    """Whether the plan as a whole takes more of a workload than it may, however few each change of it takes."""
    for group in dict.fromkeys(blast.group for blast in hit):
        mine = [blast for blast in hit if blast.group == group]
        of = max(blast.of for blast in mine)
        pods, most = _taken(mine), of * percent // 100
        if pods > most:
            share = f"{percent} % of the {of} pods of {group}"
            text = f"{said} allows {share}, rounded down {most}, the plan takes {pods}"
            return f"{text} (blastRadius.workloadPercent)"
    return ""


def _limits(policy: Policy, facts: Facts) -> list[tuple[Mode, str]]:
    """What a policy lowers the mode to, and why."""
    found: list[tuple[Mode, str]] = []
    if policy.max_mode != "Enforce":
        found.append((policy.max_mode, f"ResponsePolicy {policy.name} allows mode {policy.max_mode} at most"))
    for window in policy.windows:
        until = window.until(facts.now)
        if until is not None and facts.severity not in window.except_severities:
            text = f"freeze window {window.name} of ResponsePolicy {policy.name} until {until:%Y-%m-%d %H:%M %Z}"
            found.append(("Propose", text))
    if policy.storm is not None:
        most, within = policy.storm
        count = facts.enforced_since(facts.now - within)
        if count >= most:
            minutes = within.total_seconds() / 60
            text = f"storm: {count} Incidents were carried out within {minutes:g} min, ResponsePolicy {policy.name}"
            found.append(("Propose", f"{text} stops at {most}"))
    return found


def _waives(policy: Policy, facts: Facts) -> bool:
    """Whether a policy says itself that nobody need agree to any destructive action of a plan like this."""
    waivers = [rule for rule in policy.approvals if not rule.count and "Destructive" in rule.when]
    free = [rule for rule in waivers if _applies(rule, facts)]
    named = {action for rule in free for action in rule.actions}
    return any(not rule.actions for rule in free) or (bool(free) and facts.destructive <= named)


def _applies(rule: ApprovalRule, facts: Facts) -> bool:
    return (
        (not rule.severities or facts.severity in rule.severities)
        and (not rule.types or facts.type in rule.types)
        and (not rule.actions or any(action in rule.actions for action in facts.actions))
        and (not rule.when or bool(facts.traits & set(rule.when)))
    )


def _cooldown(policies: Sequence[Policy], facts: Facts) -> tuple[datetime | None, str]:
    """When the last of the targets has cooled down, and why it is waited for."""
    strictest = max(policies, key=lambda policy: policy.cooldown)
    if strictest.cooldown <= timedelta(0) or not facts.last_touched:
        return None, ""
    thing, last = max(facts.last_touched.items(), key=lambda item: item[1])
    until = last + strictest.cooldown
    if until <= facts.now:
        return None, ""
    seconds = strictest.cooldown.total_seconds()
    text = f"{thing} was changed by another Incident at {last:%H:%M:%S} UTC; ResponsePolicy {strictest.name} has a"
    return until, f"{text} cooldown of {seconds:g} s, until {until:%H:%M:%S} UTC"
