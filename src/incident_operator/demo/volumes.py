"""Volumes for the application with real state: folders of the lab's node, and a PersistentVolume for each.

The lab has no provisioner. Several labs, or several tests in one, take several sets, each with a prefix of its own.
"""

from __future__ import annotations

from typing import Any

import yaml

from incident_operator.demo.scene import shipped
from incident_operator.lab import Lab

CLASS = "static"


def make_volumes(lab: Lab, prefix: str = "") -> list[str]:
    """Make the volumes of ``examples/outage/volumes.yaml`` and their folders; their names, each with the prefix.

    With a prefix their class has it, too: claims of another set never take them.
    """
    volumes: list[dict[str, Any]] = list(yaml.safe_load_all(shipped("examples/outage/volumes.yaml").read_text()))
    for each in volumes:
        name = each["metadata"]["name"]
        each["metadata"]["name"] = f"{prefix}{name}"
        each["spec"]["local"]["path"] = each["spec"]["local"]["path"].removesuffix(name) + f"{prefix}{name}"
        each["spec"]["storageClassName"] = f"{prefix}{CLASS}"
    lab.exec_on_node("mkdir", "-p", *(each["spec"]["local"]["path"] for each in volumes))
    lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=yaml.safe_dump_all(volumes))
    return [each["metadata"]["name"] for each in volumes]
