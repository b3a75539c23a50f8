"""Runs the tests in two halves at once, each with a cluster of its own: those on real pods wait most of the time.

Of everything, nightly, the fault matrix and the soak are a half by themselves: both keep the cores busy.

``python side_by_side.py [pytest's options]``. What the first half says goes to a file, and is printed when both are
over; the last line counts both. Ends with 0 if both halves did.
"""

from __future__ import annotations

import collections
import re
import subprocess
import sys
from pathlib import Path

from incident_operator.lab import LabError, kube_program, kubectl_program
from incident_operator.lab.build import kwok_program

ROOT = Path(__file__).resolve().parent.parent.parent
WAITING = ("tests/e2e", "tests/unit", "tests/golden", "tests/http")
"""The half that is kept for later: on real pods, and then what needs no cluster at all."""
BUSY = ("tests/faults", "tests/mutation")
"""The half of a nightly run that is not to run beside more of its kind: processes would not start in their time."""
KEPT = ROOT / "build/tests-on-real-pods.txt"
COUNTED = re.compile(r"(\d+) (passed|failed|skipped|error|xfailed|xpassed)")
SUMMARY = re.compile(r"^=+ .*\b\d+ (?:passed|failed|skipped|error|deselected).* in [\d.]+s.*=+$", re.MULTILINE)


def main(options: list[str]) -> int:
    """Run both halves to their ends."""
    folders = {each.relative_to(ROOT).parts[1] for each in (ROOT / "tests").rglob("test_*.py")}
    others = [f"tests/{each}" for each in sorted(folders) if f"tests/{each}" not in WAITING]
    kept_back = list(WAITING)
    if "-m" not in options:
        kept_back += [each for each in others if each not in BUSY]
        others = list(BUSY)
    build()
    KEPT.parent.mkdir(exist_ok=True)
    print(f"two halves at once; {' '.join(kept_back)}: see {KEPT.relative_to(ROOT)}", flush=True)
    with KEPT.open("w") as kept:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *kept_back], cwd=ROOT, stdout=kept, stderr=subprocess.STDOUT
        )
        shown: list[str] = []
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *others], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as front:
            for line in front.stdout or ():
                print(line, end="", flush=True)
                shown.append(line)
        codes = (front.wait(), waiting.wait())
    text = KEPT.read_text()
    print(text, end="", flush=True)
    print(total("".join(shown), text))
    return max(codes)


def build() -> None:
    """Build what both halves need before either begins: a test that had to wait for it would run out of its time."""
    try:
        for program in (kube_program, kubectl_program, kwok_program):
            program()
    except LabError as error:
        print(f"{error}; tests that need a cluster will fail", flush=True)


def total(*outputs: str) -> str:
    """The sum of pytest's last lines; a half without one has not come to its end, and is an error."""
    counts = collections.Counter({"passed": 0, "failed": 0})
    for output in outputs:
        found = SUMMARY.findall(output)
        for number, what in COUNTED.findall(found[-1]) if found else [("1", "error")]:
            counts[what] += int(number)
    return ", ".join(f"{number} {what}" for what, number in counts.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
