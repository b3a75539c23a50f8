"""The first process of a PID namespace: starts the keeper, reaps every orphan, ends when the keeper does.

``python -m incident_operator.lab.first FOLDER``.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> None:
    """Reap until the keeper ends."""
    keeper = subprocess.Popen([sys.executable, "-m", "incident_operator.lab.keeper", sys.argv[1]], pass_fds=[3])
    while True:
        pid, _ = os.wait()
        if pid == keeper.pid:
            sys.exit(1)


if __name__ == "__main__":
    main()
