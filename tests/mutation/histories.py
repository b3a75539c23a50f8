"""What can happen to Incidents and their workloads, as Hypothesis draws it; and faults of the way to the API server."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

WORKLOADS = ("w0", "w1", "w2")
INCIDENTS = ("i0", "i1", "i2", "i3")

CUT = {"name": "cut", "isolate": {}}
STEPS = st.sampled_from(
    [
        [CUT],
        [{"name": "none", "scale": {"replicas": 0}}],
        [{"name": "none", "scale": {"replicas": 0}, "stage": "s"}, {**CUT, "stage": "s"}],
        [{"name": "three", "scale": {"replicas": 3}, "timeout": "1s", "onFailure": "Continue"}, CUT],
        [{"name": "three", "scale": {"replicas": 3}, "timeout": "1s", "onFailure": "Release"}],
        [{"name": "lost", "rolloutUndo": {"toRevision": 77}}],
        [{"name": "brief", "scale": {"replicas": 1}, "timeout": "1s", "expiresAfter": "2s"}],
    ]
)
NAMES = st.sampled_from(INCIDENTS)
TARGETS = st.lists(st.sampled_from(WORKLOADS), min_size=1, max_size=2, unique=True)
FIELDS = st.sampled_from(
    [
        {"release": True},
        {"cancel": True},
        {"suspend": True},
        {"suspend": False},
        {"mode": "Observe"},
        {"mode": "Enforce"},
        {"severity": "SEV-1"},
        {"title": "another"},
    ]
)
FAULTS: Any = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["status", "status", "reset_before", "reset_applied", "truncated", "hang"]),
        "code": st.sampled_from([401, 409, 429, 500, 503]),
        "method": st.sampled_from(["", "PATCH", "POST", "DELETE"]),
        "watch": st.just(False),
        "skip": st.integers(0, 6),
        "count": st.integers(1, 4),
        "seconds": st.just(1.0),
    }
)
ACTS = st.one_of(
    st.tuples(st.just("create"), NAMES, TARGETS, STEPS),
    st.tuples(st.just("create"), NAMES, TARGETS, STEPS),
    st.tuples(st.just("patch"), NAMES, FIELDS),
    st.tuples(st.just("steps"), NAMES, STEPS),
    st.tuples(st.just("again"), NAMES),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("flap"), st.sampled_from(WORKLOADS)),
    st.tuples(st.just("scale"), st.sampled_from(WORKLOADS), st.integers(0, 4)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("fault"), FAULTS),
    st.tuples(st.just("unwatch")),
    st.tuples(st.just("pause"), NAMES),
)
HISTORIES = st.lists(ACTS, min_size=5, max_size=25)
