"""``incident-operator lab``: a Kubernetes of one's own on this machine; with kind where Docker is wanted."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from incident_operator.lab import Lab, LabError, default_directory

Provider = Literal["lab", "kind"]
Command = TypeVar("Command", bound=Callable[..., Any])

WHICH = (
    click.option("--name", default="default", show_default=True, help="Which lab, where there are several."),
    click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="Its folder, instead of one under ~/.local/state named after it.",
    ),
)
PROVIDER = click.option(
    "--provider",
    type=click.Choice(["lab", "kind"]),
    default="lab",
    show_default=True,
    help="lab: built from Go modules, needs no Docker. kind: runs kind, which needs Docker.",
)


def which(command: Command) -> Command:
    """Add the options that say which lab is meant."""
    for option in reversed(WHICH):
        command = option(command)
    return command


class LabGroup(click.Group):
    """Commands whose known faults are one line on standard error and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LabError as fault:
            raise click.ClickException(str(fault)) from fault


EPILOG = """\b
Examples:
  incident-operator lab up
  incident-operator lab kubectl get nodes
  export KUBECONFIG=$(incident-operator lab status --kubeconfig)
  incident-operator lab down
"""


@click.group(cls=LabGroup, epilog=EPILOG)
def lab() -> None:
    """Run a Kubernetes of your own on this machine, without Docker.

    It lives in one folder and is gone after `lab down`. With root on Debian or Ubuntu its node
    and pods are real; elsewhere they are simulated.
    """


def _folder(name: str, folder: Path | None) -> Path:
    return folder.resolve() if folder is not None else default_directory(name)


@lab.command()
@which
@click.option(
    "--nodes",
    type=click.Choice(["auto", "real", "simulated", "none"]),
    default="auto",
    show_default=True,
    help="real: one node that runs pods (root on Debian or Ubuntu). simulated: nodes and pods that only"
    " say so. none: the API alone. auto: the first of these that works here.",
)
@click.option(
    "--simulated-count", type=click.IntRange(1, 5000), default=1, show_default=True, help="How many simulated nodes."
)
@click.option(
    "--apiserver-flag",
    "flags",
    multiple=True,
    metavar="FLAG",
    help="One more flag for kube-apiserver; may be repeated.",
)
@PROVIDER
def up(
    *, name: str, folder: Path | None, nodes: str, simulated_count: int, flags: tuple[str, ...], provider: Provider
) -> None:
    """Start a lab, or find it running.

    Prints the path of its kubeconfig, and nothing else, on standard output.
    """
    place = _folder(name, folder)
    if provider == "kind":
        click.echo(Kind(name, place).up())
        return
    made = Lab(place)
    made.up(nodes, simulated_count=simulated_count, apiserver_flags=flags, say=_say)  # type: ignore[arg-type]
    click.echo(made.kubeconfig)


@lab.command()
@which
@PROVIDER
def down(*, name: str, folder: Path | None, provider: Provider) -> None:
    """Stop a lab and remove all it kept.

    One that is not there is no error.
    """
    place = _folder(name, folder)
    if provider == "kind":
        Kind(name, place).down()
    else:
        Lab(place).down()


@lab.command()
@which
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form.")
@click.option("--kubeconfig", "only_path", is_flag=True, help="Print the path of its kubeconfig and nothing else.")
def status(*, name: str, folder: Path | None, output: str, only_path: bool) -> None:
    """Say whether a lab is running.

    Exit status 1 if it is not.
    """
    found = Lab(_folder(name, folder)).status()
    if only_path and found.running:
        click.echo(found.kubeconfig)
    elif output == "json":
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
    elif found.running:
        click.echo(f"running: {found.server}, nodes {found.nodes}, {found.memory_mib} MiB")
        click.echo(f"kubeconfig: {found.kubeconfig}")
        for program, pid in found.processes.items():
            click.echo(f"  {program} {pid}")
    else:
        click.echo(f"not running: {found.directory}", err=only_path)
    if not found.running:
        sys.exit(1)


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@which
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(*, name: str, folder: Path | None, arguments: tuple[str, ...]) -> None:
    """Run kubectl on a lab.

    Nothing of your own configuration is used.
    """
    made = Lab(_folder(name, folder))
    if not made.is_running:
        raise LabError(f"{made.directory}: no lab is running; start it with: incident-operator lab up")
    program = str(made.directory / "bin/kubectl")
    argv = [
        program,
        "--kubeconfig",
        str(made.kubeconfig),
        "--cache-dir",
        str(made.directory / "tmp/kubectl"),
        *arguments,
    ]
    env = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"} | {"KUBERC": "off"}
    sys.stdout.flush()
    os.execve(program, argv, env)  # noqa: S606 - kubectl takes this process's place: its terminal and its exit status


@lab.command("import-image")
@which
@click.argument("tarball", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def import_image(*, name: str, folder: Path | None, tarball: Path) -> None:
    """Import an image tarball into a lab's real node."""
    Lab(_folder(name, folder)).import_image(tarball.resolve())


@lab.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="incident-operator.tar",
    show_default=True,
    help="Where to write it.",
)
def image(*, out: Path) -> None:
    """Make the operator's image, as a tarball.

    From what is installed here, so it needs no Docker and no registry: it has this machine's
    Python and C library. With Docker or Podman, `manifests/Containerfile` makes one from a base image.
    """
    from incident_operator.lab.operator_image import operator_image

    click.echo(operator_image(out.resolve()))


def _say(what: str) -> None:
    click.echo(what, err=True)


class Kind:
    """A cluster of kind's, with its kubeconfig in the folder of the lab, never in the user's own."""

    def __init__(self, name: str, folder: Path) -> None:
        """Refuse with what to install where kind or Docker is missing."""
        self._cluster = "incident-operator" if name == "default" else f"incident-operator-{name}"
        self._kubeconfig = folder / "kubeconfig"
        for program, url in (
            ("kind", "https://kind.sigs.k8s.io"),
            ("docker", "https://docs.docker.com/engine/install"),
        ):
            if shutil.which(program) is None:
                raise LabError(
                    f"--provider kind needs {program}, which is not on PATH: install it ({url}) or leave out --provider"
                )

    def up(self) -> Path:
        """Create the cluster, or find it; the path of its kubeconfig."""
        self._kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        if self._cluster in self._run("get", "clusters", capture=True).split():
            self._run("export", "kubeconfig", "--name", self._cluster, "--kubeconfig", str(self._kubeconfig))
        else:
            config = str(_kind_config())
            self._run(
                "create", "cluster", "--name", self._cluster, "--config", config, "--kubeconfig", str(self._kubeconfig)
            )
        return self._kubeconfig

    def down(self) -> None:
        """Delete the cluster."""
        self._run("delete", "cluster", "--name", self._cluster, "--kubeconfig", str(self._kubeconfig))
        self._kubeconfig.unlink(missing_ok=True)

    def _run(self, *arguments: str, capture: bool = False) -> str:
        out = subprocess.PIPE if capture else sys.stderr
        done = subprocess.run(["kind", *arguments], stdout=out, text=True, check=False)  # noqa: S603, S607 - a list, no shell
        if done.returncode:
            raise LabError(
                f"kind {' '.join(arguments[:2])} failed with exit status {done.returncode}; what it said is above"
            )
        return done.stdout or ""


def _kind_config() -> Path:
    """The configuration of the cluster: in the installed package, or in the source tree."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "data/manifests/kind.yaml", package.parents[1] / "manifests/kind.yaml"):
        if place.is_file():
            return place
    raise LabError(f"{package}: manifests/kind.yaml is missing; install incident-operator again")
