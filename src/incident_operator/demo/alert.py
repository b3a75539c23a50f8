"""Plays a bad deploy that nobody looks at: an alert becomes an Incident, and the Incident puts it right."""

from __future__ import annotations

import yaml

from incident_operator.demo.alert_course import Course
from incident_operator.demo.alert_scene import NAMESPACE, AlertScene
from incident_operator.demo.api import Api
from incident_operator.demo.client import OK
from incident_operator.demo.view import condition
from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for

GOOD, BAD = "1", "2"
BAR = 40


def play(scene: AlertScene) -> None:
    """Deploy a version that answers 500, and watch what comes of it; LabError if the proof does not hold."""
    course = Course(Api(scene.lab.kubeconfig), scene.monitoring, scene.client)
    print(f"\n5. A bad deploy: version {BAD} of the api answers 500 while its probes stay green", flush=True)
    print(
        f"   $ kubectl set env deployment/api VERSION={BAD} BREAK=errors      (the last thing a hand does)\n",
        flush=True,
    )
    scene.lab.kubectl("set", "env", "-n", NAMESPACE, "deployment/api", f"VERSION={BAD}", "BREAK=errors")
    course.deployed()
    for moment in course.follow():
        since = course.times[moment.name] - course.times["answered"]
        print(f"   {since:5.1f} s  {moment.text:<52} a client sees {scene.client.lately()}", flush=True)
    _prove(scene, course)


def _prove(scene: AlertScene, course: Course) -> None:
    """Print the proof, and what the time was spent on; LabError where it does not hold."""
    lab, times = scene.lab, course.times
    incidents = course.incidents()
    deployment = yaml.safe_load(lab.kubectl("get", "deployment/api", "-n", NAMESPACE, "-o", "yaml").stdout)
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    version = next(each["value"] for each in env if each["name"] == "VERSION")
    wait_for(lambda: scene.client.good_from(times["resolved"]) is not None, 30, "good answers after it is over")
    good = scene.client.good_from(times["written"]) or times["resolved"]
    names = ", ".join(each["metadata"]["name"] for each in incidents)
    print("\n   PROOF", flush=True)
    print(f"   Incidents                {len(incidents)}: {names}", flush=True)
    print(f"   Ready                    {' '.join(condition(incidents[0], 'Ready'))}", flush=True)
    print(f"   the api's version        {version}", flush=True)
    print(f"   first bad to good answer {good - times['answered']:.1f} s, as a client saw it", flush=True)
    _tell_shares(course)
    print("\n   THE INCIDENT'S OWN TIME LINE", flush=True)
    for item in incidents[0].get("status", {}).get("timeline", ()):
        print(f"   {item['at']}  {item['reason']}: {item['message']}"[:160], flush=True)
    after = scene.client.between(good, times["resolved"])
    if len(incidents) != 1 or version != GOOD:
        raise LabError(f"{len(incidents)} Incidents, and version {version} serves")
    if after.count(OK) != len(after):
        raise LabError(f"only {after.count(OK)} of {len(after)} answers were good after the first good ones")


def _tell_shares(course: Course) -> None:
    """Who took how long of the whole way."""
    shares = course.shares()
    whole = sum(seconds for _, seconds in shares) or 1.0
    print(f"\n   WHAT THE {whole:.1f} s FROM THE FIRST BAD ANSWER TO RESOLVED WENT INTO", flush=True)
    for spent, seconds in shares:
        part = seconds / whole
        print(f"   {spent:<24} {seconds:6.2f} s  {part:4.0%}  {'#' * round(part * BAR)}".rstrip(), flush=True)
