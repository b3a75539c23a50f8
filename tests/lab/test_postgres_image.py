"""The image of PostgreSQL: which packages go into it, and what is said where it cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from incident_operator.lab import LabError, postgres_image

GRAPH = """\
postgresql-15
 |Depends: locales
  Depends: locales-all
  Depends: <debconf-2.0>
    debconf
  Depends: libssl3
  Depends: libllvm14
  Depends: zlib1g
locales
  Depends: libfrom-locales
libssl3
  PreDepends: libc6
libc6
  Depends: libgcc-s1
libllvm14
  Depends: libedit2
"""


def program(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(("#!/bin/sh", *lines, "")))
    (folder / name).chmod(0o755)


def test_libraries_are_followed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "apt-cache", f"printf '%s' '{GRAPH}'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postgres_image._libraries_of(["postgresql-15"]) == ["libc6", "libgcc-s1", "libssl3", "zlib1g"]


def test_without_apt_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"apt-get is not there\nThe image is made from Debian's or Ubuntu's packages"):
        postgres_image.postgres_image()


def test_what_apt_says_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "apt-get", "echo E: no network >&2", "exit 100")
    program(tmp_path, "apt-cache", "echo E: no lists >&2", "exit 100")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(LabError, match=r"(?s)E: no (lists|network).*apt-get update"):
        postgres_image.postgres_image()
    assert not list((tmp_path / "cache").rglob("*.tar"))
