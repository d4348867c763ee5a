"""A small server that speaks the hub's protocol and takes what is uploaded."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def hub(kind: str, refuses: bool = False) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The address of a hub, and the files that are committed to its one repository, `me/mine`."""
    files: dict[str, bytes] = {}
    where = "datasets/me/mine" if kind == "dataset" else "me/mine"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if refuses:
                self.answer(401, {"error": "Invalid username or password."})
            elif self.path == "/api/repos/create":
                assert json.loads(body).get("type", "model") == kind
                self.answer(200, {"url": f"{address}/{where}"})
            elif "/preupload/" in self.path:
                regular = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                self.answer(200, {"files": [regular | {"path": one["path"]} for one in json.loads(body)["files"]]})
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer(200, {"commitUrl": f"{address}/{where}/commit/0", "commitOid": "0" * 40, "success": True})
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
