"""A prepared folder to a hub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codetune.data.prepared.columns import to_table
from codetune.data.prepared.read import FORMAT
from codetune.records import Document
from codetune.runs import write_json
from tests.hub_server import hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import pyarrow.parquet as pq

    made = tmp_path / "made"
    made.mkdir()
    pq.write_table(to_table([Document("a", text="x = 1")]), made / "train-00000.parquet")
    splits = {"train": {"documents": 1, "files": [{"file": "train-00000.parquet"}]}, "validation": {"files": []}, "test": {"files": []}}
    write_json(made / "manifest.json", {"format": FORMAT, "name": "mine", "version": "1", "splits": splits})
    (made / "README.md").write_text("# mine\n")
    (made / ".work").mkdir()
    (made / ".work" / "secret.json").write_text("{}")
    return made


def push(folder: Path, address: str, to: str = "me/mine", **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library reads where the hub is when it is imported."""
    given = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_test", "HOME": str(folder), "PATH": "/usr/bin:/bin", **environment}
    command = [sys.executable, "-c", "from codetune.cli.main import main; main()", "data", "push", str(folder), "--to", to]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)


def test_the_folders_files_arrive_and_the_address_is_said(folder: Path) -> None:
    with hub("dataset") as (address, files):
        done = push(folder, address)
    assert done.returncode == 0, done.stderr
    assert set(files) == {"train-00000.parquet", "manifest.json", "README.md"}
    assert files["train-00000.parquet"] == (folder / "train-00000.parquet").read_bytes()
    assert "/datasets/me/mine" in done.stdout


def test_each_refusal_is_one_line(folder: Path) -> None:
    with hub("dataset", refuses=True) as (address, files):
        refused = push(folder, address)
    assert refused.returncode == 2
    assert "hf auth login" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not files
    gone = push(folder, "http://127.0.0.1:9")
    assert gone.returncode == 2
    assert "cannot be reached" in gone.stderr
    offline = push(folder, address, HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "try again when online" in offline.stderr
    wrong = push(folder, address, to="a/b/c")
    assert wrong.returncode == 2
    assert "user/name" in wrong.stderr
    (folder / "train-00000.parquet").unlink()
    assert "is gone" in push(folder, address).stderr
