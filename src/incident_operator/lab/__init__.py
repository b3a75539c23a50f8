"""A real Kubernetes on one machine, without Docker and without a registry.

Built from Go modules, started by ``up``, gone after ``down``. Stands by itself: it imports no
other room, and nothing but the tests, the demo and the command line imports it.
"""

from incident_operator.lab.build import app_program, kube_program, kubectl_program
from incident_operator.lab.faults import LabError
from incident_operator.lab.images import app_image
from incident_operator.lab.lab import Lab, LabStatus, default_directory

__all__ = [
    "Lab",
    "LabError",
    "LabStatus",
    "app_image",
    "app_program",
    "default_directory",
    "kube_program",
    "kubectl_program",
]
