"""`codetune doctor` on the machine that runs the tests."""

from __future__ import annotations

import json

import pytest

from codetune.cli.main import run


def test_doctor_reports_and_its_exit_code_follows_the_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["sandbox"]["passed"] else 1)
    assert {check["name"] for check in found["sandbox"]["checks"]} >= {"verdict: os._exit(0) is no pass", "no trace on the host"}
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["memory_bytes"] > 1 << 28
    assert found["versions"]["torch"].startswith("2.")
    assert found["extras"]["dev"]["install"] == "pip install 'codetune[dev]'"
    assert {"vllm", "ray", "quant", "kernels", "trackers"} <= found["extras"].keys()


def test_doctor_says_what_runs_where(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODETUNE_DATA", raising=False)
    run(["doctor"])
    out = " ".join(capsys.readouterr().out.split())
    assert "macOS and Windows run it through WSL or a container" in out
    assert "CODETUNE_DATA is not set" in out
