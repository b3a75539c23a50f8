"""``incident-operator generate``: writes every generated file from its one source, or says which differ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from incident_operator.api.crdgen import KINDS, crd
from incident_operator.cli import admission
from incident_operator.cli.pages import configuration_page, metrics_page, names_page, permissions_page, reference_page
from incident_operator.cli.roles import further_roles, operator_roles, responder_role, text_of


def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[3]


def install(base: Path, generated: Mapping[Path, str]) -> str:
    """The whole base in one file, in the order of its kustomization."""
    listed = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    documents = []
    for each in listed:
        path = (base / each).resolve()
        text = generated.get(path) or path.read_text()
        documents += [document for document in yaml.safe_load_all(text) if document]
    return text_of(*documents)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    top = root()
    made = {
        **{top / f"crds/{kind.plural}.yaml": text_of(crd(kind)) for kind in KINDS},
        **{top / f"docs/reference/{kind.name.lower()}.md": reference_page(kind) for kind in KINDS},
        top / "manifests/base/admission.yaml": text_of(*admission.documents()),
        top / "manifests/base/rbac.yaml": operator_roles(),
        top / "manifests/responder/responder.yaml": responder_role(),
        **{top / f"manifests/responder/{file}": text for file, text in further_roles().items()},
        top / "docs/names.md": names_page(),
        top / "docs/permissions.md": permissions_page(),
        top / "docs/configuration.md": configuration_page(),
        top / "docs/metrics.md": metrics_page(),
    }
    made[top / "manifests/install.yaml"] = install(top / "manifests/base", made)
    return made


def main(*, check: bool) -> int:
    """Write the files, or with ``check`` only say which of them differ; the exit status."""
    differ = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in differ:
        where = path.relative_to(root())
        if check:
            print(f"{where} differs from its source: run `make generate` and commit what it writes", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path])
            print(f"wrote {where}")
    return 1 if check and differ else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a file differs")
    sys.exit(main(check=parser.parse_args().check))
