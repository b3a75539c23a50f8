"""The ValidatingAdmissionPolicies: what the API server itself refuses at ``kubectl apply``, with no webhook of ours.

A webhook would block everybody while the operator is down; CEL in the API server does not
(KEP-3488, stable since Kubernetes 1.30). The variable ``authorizer`` asks what the one who
makes the request may do, so that an Incident gives nobody more rights than they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.actions.contract import Forms
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.planning.rights import Rule

API = "admissionregistration.k8s.io/v1"
ASKED = (
    "targets", "containment", "remediation", "recovery", "verification", "serviceAccountName", "mode", "severity",
    "type", "expiresAfter", "runbookRef",
)  # fmt: skip
"""Fields of an Incident that ask for something to be done; suspend, release and cancel need no more rights."""


PLANNED_FROM = (
    "targets", "containment", "remediation", "recovery", "serviceAccountName", "expiresAfter", "runbookRef",
    "severity", "type",
)  # fmt: skip
"""Fields of an Incident that its plan is made from, or that say who must approve it."""


def documents() -> list[dict[str, Any]]:
    """Every policy with its binding."""
    return [*_creator(), *_planner(), *_author(), *_reporter(), *_changer(), *_approver(), *_actions()]


def _policy(
    name: str,
    resource: str,
    validations: Sequence[Mapping[str, str]],
    *,
    variables: Iterable[tuple[str, str]] = (),
    conditions: Iterable[tuple[str, str]] = (),
    failure: str = "Fail",
    params: bool = False,
) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {
        "failurePolicy": failure,
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [names.GROUP],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [resource],
                }
            ]
        },
        "validations": [dict(each) for each in validations],
    }
    if params:
        spec["paramKind"] = {"apiVersion": names.API_VERSION, "kind": "ResponsePolicy"}
    found = [{"name": key, "expression": text} for key, text in conditions]
    if found:
        spec["matchConditions"] = found
    made = [{"name": key, "expression": text} for key, text in variables]
    if made:
        spec["variables"] = made
    labels = {"app.kubernetes.io/name": names.FIELD_MANAGER}
    binding: dict[str, Any] = {"policyName": name, "validationActions": ["Deny"]}
    if params:
        binding["paramRef"] = {"selector": {}, "parameterNotFoundAction": "Allow"}
    return [
        {
            "apiVersion": API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        },
        {
            "apiVersion": API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name, "labels": labels},
            "spec": binding,
        },
    ]


STEPS = " + ".join(f"(has(object.spec.{field}) ? object.spec.{field} : [])" for field in ("containment", "remediation"))
CHECKED = "(has(object.spec.verification) ? object.spec.verification : [])"
TARGETS = "(has(s.targets) ? s.targets : (has(object.spec.targets) ? object.spec.targets : []))"
RECOVERS_BY = {"scale": ("Deployment", "StatefulSet"), "suspend": ("CronJob",)}
"""What every recovery does by itself, whatever its plan says: stop the tiers, and start them again."""
NOT_THE_OPERATOR = ("not-the-operator", f"request.userInfo.username != '{names.OPERATOR_USER}'")
"""An Incident that an alert makes is asked for by the Runbook's author, whose rights were checked there."""


def _changed(field: str) -> str:
    both = f"has(object.spec.{field}) && object.spec.{field} != oldObject.spec.{field}"
    return f"has(object.spec.{field}) != has(oldObject.spec.{field}) || ({both})"


def _creator() -> list[dict[str, Any]]:
    """Who makes or changes an Incident must themselves be allowed what it asks for, and to use its ServiceAccount."""
    variables = [
        ("steps", STEPS),
        ("checks", CHECKED),
        ("account", f"has(object.spec.serviceAccountName) ? object.spec.serviceAccountName : '{names.RESPONDER}'"),
    ]
    who = "'user ' + request.userInfo.username + ' may not"
    validations = [
        {
            "expression": "authorizer.group('').resource('serviceaccounts').namespace(request.namespace)"
            ".name(variables.account).check('impersonate').allowed()",
            "messageExpression": f"{who} impersonate ServiceAccount ' + request.namespace + '/' + variables.account + "
            "', which spec.serviceAccountName asks for'",
            "reason": "Forbidden",
        }
    ]
    _asked(
        variables,
        validations,
        lambda path, kinds: f"variables.steps.exists(s, {_field(path)} && {TARGETS}.exists(t, t.kind in {kinds}))",
        lambda check: f"variables.checks.exists(c, has(c.{check}))",
    )
    _recovers(variables, validations)
    changed = " || ".join(f"({_changed(field)})" for field in ASKED)
    conditions = [("asks-for-something-new", f"request.operation == 'CREATE' || {changed}"), NOT_THE_OPERATOR]
    return _policy("incident-operator-creator", "incidents", validations, variables=variables, conditions=conditions)


def _asked(
    variables: list[tuple[str, str]],
    validations: list[dict[str, str]],
    does: Callable[[str, str], str],
    looks: Callable[[str], str],
    *,
    everywhere: bool = False,
) -> None:
    """For each action and check that is asked for, the rights that who asks must have.

    ``does`` says in CEL whether an action is asked for on one of some kinds of target, ``looks`` whether a check is.
    """
    for action in ACTIONS.values():
        forms = action.forms if isinstance(action, Forms) else {"": action.asks}
        for form, asks in forms.items():
            # A form that acts elsewhere is checked there by the API server when the ServiceAccount makes the write.
            if isinstance(action, Forms) and form in action.elsewhere:
                continue
            field = f"{action.name}.{form}" if form else action.name
            for rules, kinds in _alike(asks).items():
                name = f"{action.name}{form}{kinds[0]}"
                variables.append((name, does(field, f"[{', '.join(repr(kind) for kind in kinds)}]")))
                validations += [_may(name, action.name, rule, everywhere=everywhere) for rule in rules]
    for check in CHECKS.values():
        if check.asks:
            variables.append((check.name, looks(check.name)))
            validations += [_may(check.name, check.name, rule, everywhere=everywhere) for rule in check.asks]


def _recovers(variables: list[tuple[str, str]], validations: list[dict[str, str]], *, everywhere: bool = False) -> None:
    """The rights that who asks for a recovery must have, for it stops and starts every tier."""
    variables.append(("recovery", "has(object.spec.recovery)"))
    asked = [
        rule
        for action, kinds in RECOVERS_BY.items()
        if action in ACTIONS
        for kind in kinds
        for rule in ACTIONS[action].asks.get(kind, ())
    ]
    validations += [_may("recovery", "the recovery", rule, everywhere=everywhere) for rule in dict.fromkeys(asked)]


def _alike(asks: Mapping[str, tuple[Rule, ...]]) -> Mapping[tuple[Rule, ...], list[str]]:
    """Kinds of target by what they ask for, so that each right is asked for once."""
    groups: dict[tuple[Rule, ...], list[str]] = {}
    for kind, rules in asks.items():
        groups.setdefault(rules, []).append(kind)
    return groups


def _field(path: str) -> str:
    """Whether a step has a field, in CEL: each part of the path is there."""
    parts = path.split(".")
    return " && ".join(f"has(s.{'.'.join(parts[: number + 1])})" for number in range(len(parts)))


def _planner() -> list[dict[str, Any]]:
    """Who writes a RecoveryPlan must themselves be allowed what its steps and gates do."""
    variables = [("tiers", "object.spec.tiers")]
    validations: list[dict[str, str]] = []
    own = "(has(s.targets) ? s.targets.exists(t, t.kind in {kinds}) : "
    own += "(!has(r.workloads) || r.workloads.exists(w, w.kind in {kinds})))"
    step = "variables.tiers.exists(r, has(r.steps) && r.steps.exists(s, {has} && " + own + "))"
    _asked(
        variables,
        validations,
        lambda path, kinds: step.format(has=_field(path), kinds=kinds),
        lambda check: f"variables.tiers.exists(r, has(r.gates) && r.gates.exists(g, has(g.{check})))",
    )
    conditions = [("changes-what-is-done", "request.operation == 'CREATE' || object.spec != oldObject.spec")]
    return _policy(
        "incident-operator-planner", "recoveryplans", validations, variables=variables, conditions=conditions
    )


def _author() -> list[dict[str, Any]]:
    """Who writes a runbook must themselves be allowed what its steps and checks do; cluster-wide for a ClusterRunbook.

    A step that names no targets works on what an alert names: it may be of any kind.
    """
    made = []
    for resource in ("runbooks", "clusterrunbooks"):
        variables = [("steps", STEPS), ("checks", CHECKED)]
        validations: list[dict[str, str]] = []
        _asked(
            variables,
            validations,
            lambda path, kinds: (
                f"variables.steps.exists(s, {_field(path)} && "
                f"(!has(s.targets) || s.targets.exists(t, t.kind in {kinds})))"
            ),
            lambda check: f"variables.checks.exists(c, has(c.{check}))",
            everywhere=resource == "clusterrunbooks",
        )
        _recovers(variables, validations, everywhere=resource == "clusterrunbooks")
        conditions = [("changes-what-is-done", "request.operation == 'CREATE' || object.spec != oldObject.spec")]
        name = f"incident-operator-author-{resource}"
        made += _policy(name, resource, validations, variables=variables, conditions=conditions)
    return made


def _may(variable: str, what: str, rule: Rule, *, everywhere: bool = False) -> dict[str, str]:
    """The one who asks must have a right; one right a rule, for each costs a lookup."""
    (full,), (verb,) = rule.resources, rule.verbs
    resource, _, subresource = full.partition("/")
    there, where = ".namespace(request.namespace)", "namespace ' + request.namespace"
    if everywhere:
        there, where = "", "all namespaces'"
    asked = f"authorizer.group('{rule.group}').resource('{resource}')"
    if subresource:
        asked += f".subresource('{subresource}')"
    return {
        "expression": f"!variables.{variable} || {asked}{there}.check('{verb}').allowed()",
        "messageExpression": f"'user ' + request.userInfo.username + ' may not {verb} {full} in {where} + "
        f"', which {what} here does: asking the operator gives nobody more rights than they'"
        " + ' have'",
        "reason": "Forbidden",
    }


def _reporter() -> list[dict[str, Any]]:
    """Who says to have declared an Incident is who declares it; what was said never changes (a rule of the CRD)."""
    validation = {
        "expression": "!has(object.spec.reportedBy) || object.spec.reportedBy == request.userInfo.username",
        "messageExpression": "'spec.reportedBy must be your own user name, ' + request.userInfo.username",
        "reason": "Invalid",
    }
    created = [("created", "request.operation == 'CREATE'")]
    return _policy("incident-operator-reporter", "incidents", [validation], conditions=created)


def _changer() -> list[dict[str, Any]]:
    """Who changes what the plan of somebody else's Incident is made from says so: their approval does not count.

    Kubernetes keeps who wrote a field last only by the name of a program (``managedFields``), not of a user.
    """
    changed = " || ".join(f"({_changed(field)})" for field in PLANNED_FROM)
    own, user = "object.spec.changedBy", "request.userInfo.username"
    old = "request.operation == 'UPDATE' && has(oldObject.spec.changedBy) && u in oldObject.spec.changedBy"
    validations = [
        {
            "expression": f"request.operation == 'CREATE' || !({changed}) || !has(object.spec.reportedBy)"
            f" || {user} == object.spec.reportedBy || (has({own}) && {user} in {own})",
            "messageExpression": "'who changes what the plan is made from does not approve it: add your user name, ' + "
            f"{user} + ', to spec.changedBy'",
            "reason": "Invalid",
        },
        {
            "expression": f"!has({own}) || {own}.all(u, u == {user} || ({old}))",
            "messageExpression": f"'to spec.changedBy you may add only your own user name, ' + {user}",
            "reason": "Invalid",
        },
    ]
    return _policy("incident-operator-changer", "incidents", validations, conditions=[NOT_THE_OPERATOR])


def _approver() -> list[dict[str, Any]]:
    """Who approves is who says so, and is in the groups that they approve for."""
    validations = [
        {
            "expression": "object.spec.approver == request.userInfo.username",
            "messageExpression": "'spec.approver must be your own user name, ' + request.userInfo.username",
            "reason": "Invalid",
        },
        {
            "expression": "!has(object.spec.groups) || object.spec.groups.all(g, g in request.userInfo.groups)",
            "messageExpression": "'spec.groups may hold only groups that you are in: ' + "
            "request.userInfo.groups.join(', ')",
            "reason": "Invalid",
        },
    ]
    created = [("created", "request.operation == 'CREATE'")]
    return _policy(names.APPROVER_POLICY, "incidentapprovals", validations, conditions=created)


def _actions() -> list[dict[str, Any]]:
    """What a ResponsePolicy forbids is refused at once. The operator holds it, too: this only says so earlier."""
    of = "params.spec.namespaceSelector"
    labels = "namespaceObject.metadata.labels"
    expression = {
        "In": f"e.key in {labels} && {labels}[e.key] in e.values",
        "NotIn": f"!(e.key in {labels}) || !({labels}[e.key] in e.values)",
        "Exists": f"e.key in {labels}",
    }
    holds = f"!(e.key in {labels})"
    for operator, text in expression.items():
        holds = f"e.operator == '{operator}' ? ({text}) : ({holds})"
    selected = (
        f"(!has({of}.matchLabels) || {of}.matchLabels.all(k, k in {labels} && {labels}[k] == {of}.matchLabels[k]))"
        f" && (!has({of}.matchExpressions) || {of}.matchExpressions.all(e, {holds}))"
    )
    variables = [("steps", STEPS), ("selected", selected)]
    validations = []
    for action in ACTIONS:
        variables.append((action, f"variables.steps.exists(s, has(s.{action}))"))
        rule = "params.spec.actions"
        fine = (
            f"!has({rule}) || ((!has({rule}.forbidden) || !('{action}' in {rule}.forbidden))"
            f" && (!has({rule}.allowed) || '{action}' in {rule}.allowed))"
        )
        validations.append(
            {
                "expression": f"!variables.selected || !variables.{action} || {fine}",
                "messageExpression": f"'ResponsePolicy ' + params.metadata.name + ' does not allow {action} here'",
                "reason": "Forbidden",
            }
        )
    changed = " || ".join(f"({_changed(field)})" for field in ("containment", "remediation"))
    conditions = [("asks-for-something-new", f"request.operation == 'CREATE' || {changed}")]
    return _policy(
        "incident-operator-actions",
        "incidents",
        validations,
        variables=variables,
        conditions=conditions,
        failure="Ignore",
        params=True,
    )
