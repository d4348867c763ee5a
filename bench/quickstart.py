"""`codetune quickstart` stage by stage: seconds of its cells by stage, and of the whole, beside those of an earlier measurement.

    python -m bench quickstart [--set train.train_tokens=20000] [--before docs/performance/quickstart-before.json] [--out FILE]

A stage lasts from the first word of a cell about it to its first word about the next one; two cells run side by side, so stages add up
to about twice the wall clock. The verdict cache and the token cache are empty at first, as on a new machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import environment
from bench.environment import say
from bench.results import FOLDER, compared, record, write
from codetune.config import StudyRecipe, load_recipe, shipped_recipes
from codetune.errors import UserError
from codetune.study.drive import CellProgress, run_study

WHAT = "The quickstart stage by stage, beside what it took before."
HOW_LONG = "Under nine minutes on two idle cores."
ASKED = 2 / 3  # of the time before
BEFORE = FOLDER / "quickstart-before.json"
Stamp = tuple[float, int, str, str]  # seconds since the start, the cell's number, its row, the stage that begins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change a value of the recipe, for a quick look")
    parser.add_argument("--before", type=Path, default=BEFORE, help="an earlier record to compare with")
    parser.add_argument("--study", type=Path, default=None, help="keep the study in this folder, which must be empty or not there")
    parser.add_argument("--out", type=Path, default=None, help="write the record here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write. Raises UserError as the study does."""
    before = json.loads(options.before.read_text()) if options.before.exists() else None
    loads = [environment.load_average()]
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CODETUNE_CACHE"] = str(Path(temporary) / "cache")
        stamps, seconds = measured(options.study or Path(temporary) / "quickstart", options.overrides)
    loads.append(environment.load_average())
    found = make_record(stamps, seconds, loads, before, options.overrides)
    print(found["report"])
    if options.out:
        write(options.out, found)


def measured(folder: Path, overrides: Sequence[str]) -> tuple[list[Stamp], float]:
    """Every beginning of a stage, and how long all of it took, planning and report included; not the import of the light packages."""
    recipe = load_recipe(shipped_recipes()["quickstart.yaml"], StudyRecipe, list(overrides)).model_copy(update={"out": folder})
    stamps, last, started = list[Stamp](), dict[int, str](), time.perf_counter()

    def note(progress: CellProgress) -> None:
        if last.get(progress.number) != progress.stage:
            last[progress.number] = progress.stage
            stamps.append((round(time.perf_counter() - started, 2), progress.number, progress.cell.row, progress.stage))
            say(f"{stamps[-1][0]:8.1f} s  {progress.cell.row}: {progress.stage}")

    run_study(recipe, note)
    return stamps, time.perf_counter() - started


def by_stage(stamps: Sequence[Stamp]) -> dict[str, float]:
    """Seconds of all cells in each kind of stage: what comes before the first step or answer is `starting`."""
    found, since = defaultdict[str, float](float), dict[int, tuple[float, str]]()
    for at, cell, _, stage in stamps:
        if cell in since:
            began, earlier = since[cell]
            found[earlier.split()[0]] += at - began
        since[cell] = at, stage
    return {stage: round(seconds, 1) for stage, seconds in sorted(found.items(), key=lambda each: -each[1])}


def make_record(
    stamps: Sequence[Stamp], seconds: float, loads: list[float], before: dict[str, Any] | None, overrides: Sequence[str]
) -> dict[str, Any]:
    """The whole against the earlier whole, and each stage beside its earlier self. With another recipe there is no ratio."""
    stages, cores = by_stage(stamps), len(os.sched_getaffinity(0))
    earlier = before["seconds"] if before and not overrides else None
    row = compared("the whole", "codetune before", 3600 / seconds, None if earlier is None else 3600 / earlier, "quickstarts an hour",
                   "the same recipe, every cell valid or not alike")  # fmt: skip
    report = table(stages, seconds, before if earlier is not None else None)
    more = {"seconds": round(seconds, 1), "stages": stages, "stamps": [list(stamp) for stamp in stamps], "cores": cores}
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    return record("quickstart", [row], loads, versions, report=report, changed=list(overrides), **more)


def table(stages: dict[str, float], seconds: float, before: dict[str, Any] | None) -> str:
    """What is printed."""
    old: dict[str, float] = before["stages"] if before else {}
    lines = ["| stage | before, s | now, s |", "|---|---:|---:|"]
    for stage in dict.fromkeys([*old, *stages]):
        was = f"{old[stage]:.0f}" if stage in old else "-"
        lines.append(f"| {stage} | {was} | {stages.get(stage, 0):.0f} |")
    was = f"{before['seconds']:.0f}" if before else "-"
    lines.append(f"| **the whole, by the clock** | {was} | {seconds:.0f} |")
    if before:
        share = seconds / before["seconds"]
        met = "met" if share <= ASKED else "not met"
        lines += ["", f"It takes {share:.2f} of what it took; at most {ASKED:.2f} was asked for: {met}. Before: {before['conditions']}."]
    return "\n".join(lines)


def keep_before(stamps_file: Path, machine: dict[str, Any], conditions: str, out: Path = BEFORE) -> None:
    """Keep stamps of an earlier version as the record to compare with. Raises UserError where they do not reach the end."""
    rows = [json.loads(line) for line in stamps_file.read_text().splitlines()]
    stamps, (end, *_) = [tuple(row) for row in rows[:-1]], rows[-1]
    if rows[-1][3] != "end":
        raise UserError(f"{stamps_file} does not reach the end of a study")
    found = {"benchmark": "quickstart-before", "goal": "", "machine": machine, "versions": {}, "load": [], "rows": []}
    more = {"seconds": end, "stages": by_stage(stamps), "stamps": stamps, "conditions": conditions, "report": conditions}
    write(out, found | more)
