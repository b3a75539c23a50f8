"""An Incident whose spec, and the policies over it, change while it is carried out, whatever else comes in between."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from incident_operator.cluster.fake import Call
from unit.planning.machine_world import Line, conditions_of, incident_of, ledger, status_of
from unit.planning.test_machine import FEW, RECOVERY, STEPS, TERMS, VERIFICATION, EngineMachine
from unit.planning.votes import POLICY, approve, four_eyes, is_agreed, no_policy

Edit = Callable[[dict[str, Any]], None]


def _each(**terms: Any) -> Edit:
    """Other terms for every step; None takes one away."""

    def edit(spec: dict[str, Any]) -> None:
        for step in spec["containment"]:
            step.update(terms)
            for term in [term for term, value in terms.items() if value is None]:
                del step[term]

    return edit


def _renamed(spec: dict[str, Any]) -> None:
    for step in spec["containment"]:
        name: str = step["name"]
        step["name"] = name.removesuffix("-2") if name.endswith("-2") else f"{name}-2"


def _moved(spec: dict[str, Any]) -> None:
    """Deployments change places."""
    for step in spec["containment"]:
        for target in step["targets"]:
            target["name"] = {"api": "web", "web": "api"}.get(target["name"], target["name"])


def _swapped_names(spec: dict[str, Any]) -> None:
    steps = spec["containment"]
    steps[0]["name"], steps[-1]["name"] = steps[-1]["name"], steps[0]["name"]


EDITS: list[Edit] = [
    *(_each(release=word) for word in ("OnResolve", "Manual", "Never", None)),
    *(_each(expiresAfter=word) for word in ("60s", "300s", None)),
    *(_each(onFailure=word) for word in ("Halt", "Continue", "Release")),
    *(_each(stage=word) for word in ("together", None)),
    _renamed,
    _moved,
    _swapped_names,
    lambda spec: spec["containment"].reverse(),
    lambda spec: spec.update(containment=spec["containment"][:1]),
    lambda spec: spec.update(mode="Propose"),
    lambda spec: spec.update(title="another title"),
]


class EditedMachine(EngineMachine):
    """One Incident, one engine at a time, and people who do not leave the spec alone."""

    def run(self, hook: Callable[[Call], None] = lambda _: None) -> None:
        self.witness.is_agreed = lambda: is_agreed(self.fake)
        before, was_resolved = ledger(self.fake), self.is_resolved
        super().run(hook)
        if not was_resolved:
            super().it_is_never_resolved_on_what_is_not_known()
        if incident_of(self.fake) is not None:
            self.witness.on_record()
            self.agreed_to({line.id: line for line in before})

    @property
    def is_resolved(self) -> bool:
        return conditions_of(self.fake).get("Ready") == ("True", "Resolved")

    def agreed_to(self, before: Mapping[tuple[str, str], Line]) -> None:
        """What is new, and what holds on other terms than it did, was agreed to where somebody has to."""
        if POLICY not in self.fake.objects:
            return
        known = {line.what for line in before.values()}
        found = []
        for line in ledger(self.fake):
            old = before.get(line.id)
            is_new = line.state == "Intended" and line.what not in known
            is_same = old is not None and line.state == "Done" and line.since == old.since
            if is_new or (old is not None and is_same and (line.release, line.expires) != (old.release, old.expires)):
                found.append(line)
        assert not found or is_agreed(self.fake), (
            f"nobody has agreed to {found}: {status_of(self.fake)['plan']['hash']}"
        )

    @invariant()
    def it_is_never_resolved_on_what_is_not_known(self) -> None:
        """Asked when it is resolved, in ``run``: what a later edit wants of one that is over was never looked at."""

    @precondition(lambda self: incident_of(self.fake) is not None)
    @rule(edit=st.sampled_from(EDITS))
    def edited(self, edit: Edit) -> None:
        """Terms, names and targets of the steps there are."""
        self._edit(lambda thing: edit(thing["spec"]))

    @precondition(lambda self: incident_of(self.fake) is not None)
    @rule(steps=STEPS, more=st.lists(TERMS, min_size=3, max_size=3))
    def other_steps(self, steps: list[Any], more: list[Any]) -> None:
        """Other steps altogether."""
        whole = [copy.deepcopy({**each, **policy}) for each, policy in zip(steps, more, strict=False)]
        self._edit(lambda thing: thing["spec"].update(containment=whole))

    @precondition(lambda self: incident_of(self.fake) is not None)
    @rule(recovery=RECOVERY, checks=VERIFICATION)
    def another_end(self, recovery: Any, checks: list[Any]) -> None:
        """Another recovery, or none; other checks, or none."""

        def change(thing: Any) -> None:
            thing["spec"].pop("recovery", None)
            thing["spec"] |= {"verification": checks, **({"recovery": recovery} if recovery else {})}

        self._edit(change)

    @rule(wants=st.booleans())
    def the_policy_changes(self, wants: bool) -> None:
        """Somebody has to agree to every plan from now on; or nobody has to."""
        (four_eyes if wants else no_policy)(self.fake)
        self.restart()  # policies are remembered for a moment

    @precondition(lambda self: "plan" in status_of(self.fake))
    @rule(
        decision=st.sampled_from(["Approved", "Approved", "Approved", "Rejected"]), by=st.sampled_from(["alice", "bob"])
    )
    def voted(self, decision: str, by: str) -> None:
        """Somebody says yes or no to the plan as it is; what the reporter says does not count."""
        approve(self.fake, self.clock, decision, by)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "fake"):
            self.witness.nothing_left()


class TestEdited(EditedMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(FEW, derandomize=True, database=None)


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestEditedLong(EditedMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(FEW, max_examples=1500, stateful_step_count=50)
