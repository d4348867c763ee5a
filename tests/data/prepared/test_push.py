"""A prepared folder to a hub: a small server that speaks the hub's protocol takes what is uploaded."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from codetune.data.prepared.columns import to_table
from codetune.data.prepared.read import FORMAT
from codetune.records import Document
from codetune.runs import write_json


@contextmanager
def hub(refuses: bool = False) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The address of a hub, and the files that are committed to it."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if refuses:
                self.answer(401, {"error": "Invalid username or password."})
            elif self.path == "/api/repos/create":
                assert json.loads(body)["type"] == "dataset"
                self.answer(200, {"url": f"{address}/datasets/me/mine"})
            elif "/preupload/" in self.path:
                regular = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                self.answer(200, {"files": [regular | {"path": one["path"]} for one in json.loads(body)["files"]]})
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer(200, {"commitUrl": f"{address}/datasets/me/mine/commit/0", "commitOid": "0" * 40, "success": True})
            else:
                self.answer(200, {})

        def do_GET(self) -> None:
            self.answer(404, {"error": "no such thing"})

        def answer(self, status: int, body: object) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address, files
    finally:
        server.shutdown()


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
    with hub() as (address, files):
        done = push(folder, address)
    assert done.returncode == 0, done.stderr
    assert set(files) == {"train-00000.parquet", "manifest.json", "README.md"}
    assert files["train-00000.parquet"] == (folder / "train-00000.parquet").read_bytes()
    assert "/datasets/me/mine" in done.stdout


def test_each_refusal_is_one_line(folder: Path) -> None:
    with hub(refuses=True) as (address, files):
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
