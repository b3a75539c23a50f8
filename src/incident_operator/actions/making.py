"""What all objects that an Incident makes have in common: a name that a retry finds again, and whose they are."""

from __future__ import annotations

from incident_operator.actions.contract import Occasion
from incident_operator.actions.policies import label_value
from incident_operator.api import names
from incident_operator.planning.plan import Json, Manifest, Standing, digest
from incident_operator.planning.selectors import labels_of

TAG = 8
MOST_LABEL = 63
"""A DNS label, and the value of a label."""
MOST_CHARACTERS = 160


def name_of(head: str, *what: Json, most: int = MOST_LABEL) -> str:
    """A name that begins as people expect and is always the same for the same thing."""
    return f"{head[: most - TAG - 1].rstrip('-.')}-{digest(list(what))[:TAG]}"


def labels_for(occasion: Occasion) -> dict[str, str]:
    """The labels on every object made for an Incident."""
    return {
        names.MANAGED_BY: names.FIELD_MANAGER,
        names.INCIDENT_LABEL: label_value(occasion.incident),
        names.INCIDENT_UID: occasion.uid,
    }


def standing(uid: str, incident: str, current: Manifest | None) -> Standing:
    """How the object of a made one's name stands; ``uid`` is empty as long as it is not known to be made.

    Its name says what it was made for, its label by whom: the rest is its controllers' to change.
    """
    if current is None:
        return Standing.GONE if uid else Standing.BEFORE
    if uid and current["metadata"].get("uid") != uid:
        return Standing.GONE
    return Standing.AFTER if labels_of(current).get(names.INCIDENT_UID) == incident else Standing.OTHER


def one_line(text: object) -> str:
    """What somebody else's program said, as one short line."""
    return " ".join(str(text).split())[:MOST_CHARACTERS]
