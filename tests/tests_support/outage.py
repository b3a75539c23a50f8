"""The application of examples/outage in a namespace of a test: with volumes of its own, and the responder."""

from __future__ import annotations

from incident_operator.demo.outages.shop import Shop
from incident_operator.demo.rows import EVERY_SECONDS
from incident_operator.lab import Lab
from tests_support.cluster import Kubectl, Namespace


def make_shop(lab: Lab, kubectl: Kubectl, *, every: float = EVERY_SECONDS) -> tuple[Namespace, Shop]:
    """The application, ready; the namespace is the caller's to delete."""
    space = Namespace.create(kubectl)
    try:
        space.responder()
        shop = Shop(lab, space.name, prefix=f"{space.name}-", every=every)
        shop.start()
        shop.await_ready()
    except BaseException:
        space.delete()
        raise
    return space, shop
