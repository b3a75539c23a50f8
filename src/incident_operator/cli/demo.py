"""``incident-operator demo``: see it at work, with nothing but this machine."""

from __future__ import annotations

import time
from typing import Literal

import click

from incident_operator.demo.outages import NAMES


@click.group()
def demo() -> None:
    """See it at work: a cluster, an application, an incident."""


@demo.command()
@click.option(
    "--nodes",
    type=click.Choice(["auto", "real", "simulated"]),
    default="auto",
    show_default=True,
    help="real needs root on Debian or Ubuntu; simulated pods run nothing, so no requests are made.",
)
def up(nodes: Literal["auto", "real", "simulated"]) -> None:
    """Bring everything up, play a bad deploy and a compromised pod, and prove what came of them."""
    from incident_operator.demo import play
    from incident_operator.demo.scene import Scene
    from incident_operator.lab import Lab, LabError, default_directory

    begun = time.monotonic()
    scene = Scene(Lab(default_directory("demo")))
    try:
        scene.set(nodes)
        play.bad_deploy(scene)
        play.compromised_pod(scene)
        play.what_next(scene)
    except LabError as fault:
        raise click.ClickException(f"the demo did not get through: {fault}") from fault
    click.echo(f"\nThe demo succeeded in {time.monotonic() - begun:.0f} s.")


@demo.command()
@click.option(
    "--scenario",
    type=click.Choice(NAMES),
    default=NAMES[0],
    show_default=True,
    help="restore: its files are lost. failover: its primary is. corruption: rows are changed. everything: all pods "
    "are deleted. halted: the api never passes its gate. killed: so is the operator, in each tier.",
)
def outage(scenario: str) -> None:
    """An outage of an application with a real PostgreSQL, brought back tier by tier. Needs real pods: root."""
    from incident_operator.demo.outage import play
    from incident_operator.demo.scene import OutageScene
    from incident_operator.lab import Lab, LabError, default_directory

    begun = time.monotonic()
    scene = OutageScene(Lab(default_directory("demo")))
    try:
        scene.set("real")
        play(scene, scenario)
    except LabError as fault:
        raise click.ClickException(f"the demo did not get through: {fault}") from fault
    click.echo(f"\nThe demo succeeded in {time.monotonic() - begun:.0f} s; make demo-down takes it away.")


@demo.command()
def alert() -> None:
    """A bad deploy put right with no human hand: Prometheus, Alertmanager, an Incident. Needs real pods: root."""
    from incident_operator.demo.alert import play
    from incident_operator.demo.alert_scene import AlertScene
    from incident_operator.lab import Lab, LabError, default_directory

    begun = time.monotonic()
    scene = AlertScene(Lab(default_directory("demo")))
    try:
        scene.set("real")
        play(scene)
    except LabError as fault:
        raise click.ClickException(f"the demo did not get through: {fault}") from fault
    finally:
        scene.close()
    click.echo(f"\nThe demo succeeded in {time.monotonic() - begun:.0f} s; make demo-down takes it away.")


@demo.command()
def down() -> None:
    """Take the demo away; what was built for it stays in the cache."""
    from incident_operator.demo.scene import Scene
    from incident_operator.lab import Lab, LabError, default_directory

    try:
        Scene(Lab(default_directory("demo"))).take_away()
    except LabError as fault:
        raise click.ClickException(str(fault)) from fault
    click.echo("The demo is gone.")
