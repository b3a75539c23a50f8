"""Incident Operator: contains incidents on Kubernetes and brings services back.

The rooms, and which may import which, are in ``docs/architecture.md`` and are
held by import-linter.
"""

__version__ = "0.1.0"
