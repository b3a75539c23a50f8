"""The command ``incident-operator`` and its subcommands, each loaded when it is called for."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
from typing import Any

import click

from incident_operator import __version__
from incident_operator.faults import Fault


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Where a subcommand is, and its line in the help, so that the help need not load it."""

    module: str
    attribute: str
    line: str
    hidden: bool = False


ENTRIES = {
    "run": Entry("incident_operator.cli.run", "run", "Run the operator."),
    "demo": Entry("incident_operator.cli.demo", "demo", "See it at work: a cluster, an application, an incident."),
    "lab": Entry("incident_operator.cli.lab", "lab", "A Kubernetes of your own on this machine, without Docker."),
    "generate": Entry("incident_operator.cli.main", "generate", "Write the generated files anew.", hidden=True),
    "version": Entry("incident_operator.cli.main", "version", "Say which version this is."),
}


class Lazy(click.Group):
    """A group that loads a subcommand when it is called, and shows faults as one line."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The subcommands that people use."""
        return [name for name, entry in ENTRIES.items() if not entry.hidden and importlib.util.find_spec(entry.module)]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a subcommand."""
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        found: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, ENTRIES[name].line) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; what is known to go wrong is a line on standard error and exit status 1."""
        try:
            return super().invoke(ctx)
        except Fault as fault:
            raise click.ClickException(fault.message) from fault


EPILOG = """\b
Examples:
  incident-operator demo up                           a cluster and an application to try it on
  incident-operator run --kubeconfig ./kubeconfig     the operator, outside of a cluster
  incident-operator run --help                        all options, and their variables
"""


@click.group(
    cls=Lazy, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
def cli() -> None:
    """Contain incidents on Kubernetes and bring services back.

    Declare an Incident (kubectl apply), and the operator does what it says: planned,
    recorded before it is made, verified, and reversible.
    """


@click.command()
def version() -> None:
    """Say which version this is."""
    click.echo(f"incident-operator {__version__}")


@click.command(hidden=True)
@click.option("--check", is_flag=True, help="Change nothing; exit status 1 if a file differs from its source.")
def generate(*, check: bool) -> None:
    """Write the generated files anew, in the source tree."""
    from incident_operator.cli import generate as generating

    sys.exit(generating.main(check=check))


def main() -> None:
    """Entry point of the program."""
    cli(prog_name="incident-operator")
