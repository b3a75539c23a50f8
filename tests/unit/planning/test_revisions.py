"""Which revision was good."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.planning.revisions import (
    Revision,
    choose,
    current_of,
    fingerprint,
    images,
    numbered,
    of_controller_revisions,
    of_replica_sets,
    others,
    without_hash,
)
from unit.actions.objects import pod, revision, template, workload

REVISIONS = st.lists(
    st.builds(
        lambda number, ready, verified: Revision(
            "ReplicaSet", f"api-{number}", number, {}, str(number), ready, "2026-11-20T00:00:00Z" if verified else ""
        ),
        st.integers(1, 50),
        st.integers(0, 2),
        st.booleans(),
    ),
    unique_by=lambda each: each.number,
    max_size=8,
)


@given(REVISIONS)
def test_the_choice_follows_the_order_running_verified_previous(found: list[Revision]) -> None:
    choice = choose(found)
    if not found:
        assert choice is None
        return
    assert choice is not None
    chosen, running = choice.revision, [each for each in found if each.ready]
    verified = [each for each in found if each.verified_at]
    if running:
        both = [each for each in running if each.verified_at] or running
        assert chosen.number == min(each.number for each in both)
    elif verified:
        assert chosen.number == max(each.number for each in verified)
    else:
        assert chosen.number == max(each.number for each in found)
    assert choice.is_guess is (not running and not verified)


@given(REVISIONS, st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_the_list(found: list[Revision], random: Any) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    assert choose(found) == choose(shuffled)


@given(REVISIONS.filter(bool))
def test_undoing_twice_stays(found: list[Revision]) -> None:
    """Once chosen, a revision is no longer among the others: what is chosen then is never the same again by itself."""
    choice = choose(found)
    assert choice is not None
    left = [each for each in found if each != choice.revision]
    again = choose(left)
    assert again is None or again.revision != choice.revision


def test_the_hash_label_and_nulls_do_not_make_a_template_another() -> None:
    plain = template("1")
    seen = copy.deepcopy(plain)
    seen["metadata"]["labels"]["pod-template-hash"] = "abc"
    seen["metadata"]["creationTimestamp"] = None
    assert fingerprint(seen) == fingerprint(plain)
    assert without_hash(seen) == plain
    assert fingerprint(template("2")) != fingerprint(plain)


def test_only_replica_sets_that_the_deployment_controls_are_its_revisions() -> None:
    api, other = workload(version="2"), workload(name="api")
    other["metadata"]["uid"] = "a deployment of the same name that was deleted"
    found = of_replica_sets(api, [revision(api, 2), revision(other, 7), revision(api, 1, ready=3, verified="v")])
    assert [(each.number, each.ready, each.verified_at) for each in found] == [(1, 3, "v"), (2, 0, "")]
    assert "pod-template-hash" not in found[0].template["metadata"]["labels"]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_controller_revisions_count_their_ready_pods(kind: str) -> None:
    owner = workload(kind, "db", version="2")
    pods = [pod(owner, "db-0", 1), pod(owner, "db-1", 1, ready=False), pod(owner, "db-2", 2)]
    found = of_controller_revisions(owner, [revision(owner, 1), revision(owner, 2)], pods)
    assert [(each.number, each.ready) for each in found] == [(1, 1), (2, 1)]
    assert found[0].template == template("1", app="db"), "a whole template, without the directive of the patch"


def test_the_current_revision_is_told_by_its_template_and_all_else_are_others() -> None:
    api = workload(version="2")
    found = of_replica_sets(api, [revision(api, 1), revision(api, 2), revision(api, 3)])
    current = current_of(api, found)
    assert current is not None
    assert current.number == 2
    assert [each.number for each in others(api, found)] == [1, 3]


def test_a_deployment_whose_controller_has_not_made_the_revision_yet_has_no_current_one() -> None:
    api = workload(version="9")
    found = of_replica_sets(api, [revision(api, 1), revision(api, 2)])
    assert current_of(api, found) is None
    assert [each.number for each in others(api, found)] == [1, 2]


def test_a_stateful_set_with_newer_defaults_than_its_revision_still_has_a_current_one() -> None:
    db = workload("StatefulSet", "db", version="2")
    found = of_controller_revisions(db, [revision(db, 1), revision(db, 2)], [])
    db["spec"]["template"]["spec"]["newDefault"] = "Always"
    assert [each.number for each in others(db, found)] == [1]
    db["metadata"]["generation"] = 3
    assert [each.number for each in others(db, found)] == [1, 2]


def test_a_number_that_a_revision_had_before_it_was_used_again_still_finds_it() -> None:
    api = workload(version="2")
    found = of_replica_sets(api, [revision(api, 2), revision(api, 3, former="1")])
    assert [each.number for number in (1, 2, 3) if (each := numbered(found, number))] == [3, 2, 3]
    assert numbered(found, 4) is None


def test_images_are_told_by_container_init_containers_included() -> None:
    pods = template("1", initContainers=[{"name": "migrate", "image": "m:1"}])
    assert images(pods) == {"migrate": "m:1", "web": "registry/api:1"}
