"""``python -m incident_operator`` is ``incident-operator``."""

from __future__ import annotations

from incident_operator.cli.main import main

if __name__ == "__main__":
    main()
