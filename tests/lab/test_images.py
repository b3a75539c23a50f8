"""Images are made the same every time, and hold what they were given."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from incident_operator.lab import LabError
from incident_operator.lab.images import Layer, make_image


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    made = [
        make_image(
            "localhost/x:1",
            tmp_path / f"{number}.tar",
            layers=[Layer([(tmp_path / "file", "/etc/file")], {"etc/more": "words"}, ("etc", "tmp"))],
            command=["run"],
            user="65532",
        )
        for number in range(2)
    ]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_an_image_is_an_oci_layout_whose_digests_hold(tmp_path: Path) -> None:
    out = make_image("localhost/x:1", tmp_path / "x.tar", layers=[Layer(texts={"a": "b"})], command=["run"])
    with tarfile.open(out) as tar:
        blobs = {each.name: tar.extractfile(each).read() for each in tar if each.name.startswith("blobs/")}  # type: ignore[union-attr]
        index = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]
    assert all(hashlib.sha256(data).hexdigest() == name.rsplit("/", 1)[1] for name, data in blobs.items())
    (top,) = index["manifests"]
    assert top["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    assert f"blobs/{top['digest'].replace(':', '/')}" in blobs


def test_a_name_without_a_tag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no tag"):
        make_image("localhost:5000/x", tmp_path / "x.tar", layers=[], command=["run"])
