"""The operator as a fork of a process that has loaded it: most of a start is imports, and there are thousands."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerProcess
from typing import IO

from tests_support.cluster import OperatorProcess

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", "incident_operator.cli.run", "incident_operator.operator.run"])


class Forked:
    """As much of subprocess.Popen as a lane asks for."""

    def __init__(self, argv: list[str], out: IO[bytes]) -> None:
        self._process: ForkServerProcess = FORKS.Process(target=_run, args=(argv, out.name), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """The exit status; TimeoutError while it still runs after so many seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"the operator did not end within {timeout:g} s")
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)


class ForkedOperator(OperatorProcess):
    """``incident-operator run``, its modules loaded beforehand; all else is as when it is started."""

    def _launch(self, out: IO[bytes]) -> Forked:  # type: ignore[override]
        return Forked(self._argv[3:], out)


def _run(argv: list[str], log: str) -> None:
    """In the new process: what ``python -m incident_operator`` does, with both outputs in a file."""
    from incident_operator.cli.main import main

    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.setsid()
    sys.argv = ["incident-operator", *argv]
    main()
