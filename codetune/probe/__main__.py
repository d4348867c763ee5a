"""Try everything and write down what was found; see `codetune.probe`."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import track

from codetune.errors import nearest
from codetune.models.compatibility import FEATURES, TABLE, Row
from codetune.probe.forms import FORMS
from codetune.probe.probes import begin, row_of
from codetune.probe.subject import METHODS
from codetune.probe.together import rows_of
from codetune.runs import write_json

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


def main(asked: Sequence[str]) -> int:
    """Returns the exit code."""
    if unknown := [name for name in asked if name not in {*FORMS, *METHODS}]:
        print(f"codetune.probe: no family or method {unknown[0]!r}; {nearest(unknown[0], [*FORMS, *METHODS])}", file=sys.stderr)
        return 2
    pairs = [(form, method) for form in FORMS for method in METHODS if not asked or {form, method} & {*asked}]
    kept = json.loads(TABLE.read_text(encoding="utf-8"))["forms"] if asked and TABLE.exists() else {}
    found: dict[str, dict[str, Row]] = {form: dict(kept.get(form, {})) for form in FORMS}
    with multiprocessing.get_context("spawn").Pool(2, initializer=begin) as pool:
        rows = track(pool.imap(row_of, pairs), "probing", len(pairs), console=Console(stderr=True), transient=True)
        for (form, method), row in zip(pairs, rows, strict=True):
            found[form][method] = row
    for (form, method), row in _together([pair for pair in pairs if "refused" not in found[pair[0]][pair[1]]]).items():
        found[form][method] |= row
    in_order = {form: {method: found[form][method] for method in METHODS if method in found[form]} for form in FORMS}
    write_json(TABLE, {"versions": {name: version(name) for name in LIBRARIES}, "forms": in_order})
    works = sum(not reason for rows in in_order.values() for row in rows.values() for reason in row.values())
    print(f"wrote {TABLE}: {works} of {len(FORMS) * len(METHODS) * len(FEATURES)} combinations work; now: python docs/generate.py")
    return 0


def _together(pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """What two processes find; see `codetune.probe.together`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = subprocess.run(
            [*torchrun, "-m", "codetune.probe.together", str(out), *map("/".join, pairs)], env=os.environ | {"OMP_NUM_THREADS": "1"},
            timeout=3600, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"two processes ended early: {done.stderr[-2000:]}")
        return rows_of(out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
