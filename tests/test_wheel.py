"""The built wheel works outside the repository: version, data files and scoring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codetune.data import basics

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the unpacked wheel in it. The dependencies come from the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(REPOSITORY)], check=True, cwd=folder, timeout=300)
    (wheel,) = folder.glob("codetune-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True, cwd=folder, timeout=300)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The wheel's `codetune`. PYTHONPATH comes before the editable install, and the working folder is not the repository."""
    script = "import codetune; from codetune.cli.main import main; assert 'site' in codetune.__file__, codetune.__file__; main()"
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder / "site")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_wheel_works_outside_the_repository(installed: Path) -> None:
    version = run(installed, "--version")
    assert version.stdout.startswith("codetune "), version.stderr
    page = installed / "site" / "codetune" / "serve" / "static"
    assert {"index.html", "main.js", "app.css"} <= {path.name for path in page.iterdir()}
    samples = installed / "samples.jsonl"
    rows = [{"task_id": problem.task_id, "solution": problem.reference} for problem in basics.load("unseen")]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(installed, "score", str(samples), "--benchmark", "basics-unseen", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pass_at_k"] == {"1": 1.0}


def test_the_wheel_holds_recipes_and_the_console_script(installed: Path) -> None:
    site = installed / "site"
    assert (site / "bin" / "codetune").is_file()
    shipped, ours = site / "codetune" / "recipes", REPOSITORY / "recipes"
    assert {path.relative_to(shipped) for path in shipped.rglob("*.yaml")} == {path.relative_to(ours) for path in ours.rglob("*.yaml")}
