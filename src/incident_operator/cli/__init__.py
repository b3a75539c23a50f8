"""The command line: ``incident-operator``.

Nothing here imports another room until a command needs it, so that help comes at once.
"""

from __future__ import annotations

from incident_operator.cli.main import main

__all__ = ["main"]
