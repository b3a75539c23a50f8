from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from incident_operator.cli.main import cli
from incident_operator.operator import run as operator
from incident_operator.telemetry import logs


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[operator.RunOptions]:
    """What the operator would have been run with."""
    found: list[operator.RunOptions] = []

    async def run(options: operator.RunOptions) -> int:
        found.append(options)
        return 0

    monkeypatch.setattr(operator, "run", run)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return found


def invoke(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(cli, ["run", *arguments], env=env)


def test_options_reach_the_operator(asked: list[operator.RunOptions]) -> None:
    result = invoke(
        "--kubeconfig", "k", "--context", "c", "--namespace", "a", "--namespace", "b", "--namespace", "a",
        "--listen", "127.0.0.1:0", "--workers", "3", "--resync", "1m30s", "--verified-after", "2s",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    second = timedelta(seconds=1)
    expected = operator.RunOptions(Path("k"), "c", ("a", "b"), "127.0.0.1", 0, 3, 90 * second, 2 * second)
    assert asked == [expected]


def test_without_options_the_defaults_are_those_of_the_operator(asked: list[operator.RunOptions]) -> None:
    assert invoke(KUBERNETES_SERVICE_HOST="10.0.0.1").exit_code == 0
    assert asked == [operator.RunOptions()]


def test_every_option_can_be_given_by_its_variable(asked: list[operator.RunOptions]) -> None:
    given: dict[str, Any] = {
        "KUBECONFIG": "k", "CONTEXT": "c", "NAMESPACE": "a b", "LOG_FORMAT": "json", "LOG_LEVEL": "debug",
        "LISTEN": ":9000", "WORKERS": "2", "RESYNC": "5s", "VERIFIED_AFTER": "1h",
    }  # fmt: skip
    assert invoke(**{f"INCIDENT_OPERATOR_{name}": text for name, text in given.items()}).exit_code == 0
    (options,) = asked
    assert (options.kubeconfig, options.context, options.namespaces) == (Path("k"), "c", ("a", "b"))
    assert (options.host, options.port, options.workers) == ("0.0.0.0", 9000, 2)
    assert (options.resync, options.verified_after) == (timedelta(seconds=5), timedelta(hours=1))


def test_without_a_cluster_named_nothing_is_touched_whatever_the_user_has(
    asked: list[operator.RunOptions], tmp_path: Path
) -> None:
    mine = tmp_path / ".kube/config"
    mine.parent.mkdir()
    mine.write_text("{}")
    result = invoke(KUBECONFIG=str(mine), HOME=str(tmp_path))
    assert result.exit_code == 1
    assert "--kubeconfig FILE" in result.output
    assert "KUBECONFIG and ~/.kube/config are not looked at" in result.output
    assert result.output.count("\n") == 1
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--context", "c"], "--kubeconfig FILE"),
        (["--resync", "5"], "'5' is not a duration: write it as 500ms, 90s, 5m or 1h30m"),
        (["--resync", "0s"], "must be longer than nothing"),
        (["--listen", "8080"], "'8080' is not HOST:PORT"),
        (["--listen", "localhost:99999"], "is not HOST:PORT"),
        (["--workers", "0"], "1<=x<=256"),
        (["--log-level", "loud"], "'debug', 'info', 'warning', 'error'"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error_that_says_how_to_write_it(
    asked: list[operator.RunOptions], arguments: list[str], said: str
) -> None:
    result = invoke("--kubeconfig", "k", *arguments) if arguments[0] != "--context" else invoke(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert asked == []


@pytest.mark.parametrize(
    ("text", "host", "port"), [("[::]:8080", "::", 8080), (":1", "0.0.0.0", 1), ("localhost:0", "localhost", 0)]
)
def test_addresses_are_read(asked: list[operator.RunOptions], text: str, host: str, port: int) -> None:
    assert invoke("--kubeconfig", "k", "--listen", text).exit_code == 0
    assert (asked[0].host, asked[0].port) == (host, port)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    result = invoke("--kubeconfig", str(tmp_path / "gone"), "--listen", "127.0.0.1:0")
    assert result.exit_code == 1
    assert result.output == f"Error: --kubeconfig {tmp_path / 'gone'}: there is no such file\n"
