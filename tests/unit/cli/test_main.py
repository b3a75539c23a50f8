from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from incident_operator import __version__
from incident_operator.cli.main import cli
from incident_operator.faults import Stalled

# Help comes at once because this is all that it loads; how many seconds that takes is the machine's matter.
LIGHT = {"click", "incident_operator", *("incident_operator." + name for name in ("cli", "cli.main", "faults"))}
ITS_OWN = {"run": {"incident_operator.cli.run"}}
ASK = """
import json, sys
bare = set(sys.modules)
from incident_operator.cli import main
sys.argv = ["incident-operator", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code or 0
ours = {name for name in set(sys.modules) - bare if name.startswith("incident_operator")}
others = {name.split(".")[0] for name in set(sys.modules) - bare} - {"incident_operator"} - sys.stdlib_module_names
print(json.dumps([code, sorted(ours | others), "asyncio" in sys.modules]), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["version"], []])
def test_help_loads_nothing_that_it_does_not_need(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", ASK, *arguments], capture_output=True, text=True, check=True)
    code, loaded, has_asyncio = json.loads(done.stderr.splitlines()[-1])
    assert set(loaded) == LIGHT | ITS_OWN.get("".join(arguments[:1]), set())
    assert not has_asyncio
    assert code == (0 if arguments else 2)


def test_the_help_lists_every_command_that_people_use_and_no_other() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    assert "Run the operator." in text
    assert "generate" not in text


def test_version_says_which() -> None:
    assert CliRunner().invoke(cli, ["version"]).output == f"incident-operator {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["contain"])
    assert result.exit_code == 2
    assert "No such command 'contain'" in result.output


def test_a_known_fault_is_one_line_and_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise Stalled("NoCluster", "could not reach it: connection refused")

    monkeypatch.setattr(sys.modules["incident_operator.cli.main"], "version", failing)
    result = CliRunner().invoke(cli, ["version"])
    assert (result.exit_code, result.output) == (1, "Error: could not reach it: connection refused\n")


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "incident_operator", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"incident-operator {__version__}\n"
