"""Try everything and write down what was found; see `codetune.probe`."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Sequence
from importlib.metadata import version

from rich.console import Console
from rich.progress import track

from codetune.errors import nearest
from codetune.models.compatibility import FEATURES, TABLE, Row
from codetune.probe.forms import FORMS
from codetune.probe.probes import begin, row_of
from codetune.probe.subject import METHODS
from codetune.runs import write_json

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


def main(asked: Sequence[str]) -> int:
    """Returns the exit code."""
    if unknown := [name for name in asked if name not in FORMS]:
        print(f"codetune.probe: no family {unknown[0]!r}; {nearest(unknown[0], FORMS)}", file=sys.stderr)
        return 2
    forms = list(asked) or list(FORMS)
    pairs = [(form, method) for form in forms for method in METHODS]
    found: dict[str, dict[str, Row]] = {form: {} for form in forms}
    with multiprocessing.get_context("spawn").Pool(2, initializer=begin) as pool:
        rows = track(pool.imap(row_of, pairs), "probing", len(pairs), console=Console(stderr=True), transient=True)
        for (form, method), row in zip(pairs, rows, strict=True):
            found[form][method] = row
    if asked:
        print(json.dumps(found, indent=1))
    else:
        write_json(TABLE, {"versions": {name: version(name) for name in LIBRARIES}, "forms": found})
        works = sum(not reason for rows in found.values() for row in rows.values() for reason in row.values())
        print(f"wrote {TABLE}: {works} of {len(pairs) * len(FEATURES)} combinations work; now: python docs/generate.py")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
