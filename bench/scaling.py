"""How cost grows: with the model, the row, the number of examples and the number of adapters; exponents fitted, and what they ought to be.

    python -m bench scaling [--tiny] [--only model,row,examples,adapters] [--out results.json]

Every point is a process of its own with one thread, since a process's peak memory never falls. Exponents are slopes of straight lines
through the logarithms: of CPU seconds, and of what memory grew by over a process that has its libraries in memory. A slope above what is
right is marked: something is then quadratic that need not be.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from bench import environment, results
from bench.environment import say
from bench.scaling_series import SERIES, Series
from bench.turns import measured
from codetune.errors import UserError, nearest

WHAT = "How time and memory grow with the model, the row, the number of examples and the number of adapters."
HOW_LONG = "About ten minutes on two quiet cores; --tiny: two."
TOLERANCE = 0.1  # of an exponent: start-up, caches and noise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="", help=f"some of {', '.join(SERIES)}")
    parser.add_argument("--tiny", action="store_true", help="short series of small sizes: to see that it works")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the tables, write the JSON. Raises UserError for options that cannot work."""
    names = [name.strip() for name in options.only.split(",") if name.strip()] or list(SERIES)
    for name in names:
        if name not in SERIES:
            raise UserError(f"--only {name}: {nearest(name, SERIES)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    loads, points = [environment.load_average()], list[dict[str, Any]]()
    for name in names:
        for size in SERIES[name].sizes(options.tiny):
            for variant in SERIES[name].variants:
                found = measure_point(name, variant, size, options.tiny)
                points.append({"series": name, "variant": variant, "size": size, **found})
                say(f"{name} {size:,} {variant}: {found.get('failed') or SERIES[name].told(found)}")
    loads.append(environment.load_average())
    record = make_record(names, points, loads, options.tiny)
    print(report(record))
    if options.out:
        results.write(options.out, record)


def measure_point(name: str, variant: str, size: int, tiny: bool) -> dict[str, Any]:
    """What a process of its own measured, or why it has not: out of memory, say. The others go on."""
    try:
        return measured(Path(sys.executable), "bench.scaling_point", name, variant, str(size), str(int(tiny)))
    except UserError as error:
        return {"failed": str(error)}


def make_record(names: list[str], points: list[dict[str, Any]], loads: list[float], tiny: bool) -> dict[str, Any]:
    """All points, the exponents fitted to them, and the figures to draw."""
    from importlib.metadata import version

    growth = [one for name in names for one in SERIES[name].growth([point for point in points if point["series"] == name])]
    versions = {name: version(name) for name in ("codetune", "torch", "transformers", "peft")}
    figures = [figure for name in names if (figure := _figure(SERIES[name], [each for each in growth if each["series"] == name]))]
    return results.record("scaling", [], loads, versions, tiny=tiny, points=points, growth=growth, figures=figures)


def _figure(series: Series, growth: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not growth:
        return None
    panels = []
    for unit in dict.fromkeys(one["unit"] for one in growth):
        curves = [{"name": one["what"], "x": one["sizes"], "y": one["values"]} for one in growth if one["unit"] == unit]
        panels.append({"title": f"{unit} by {series.size}", "x": series.size, "y": unit, "curves": curves})
    return {"file": f"scaling-{series.name}.svg", "alt": f"How cost grows with {series.size}", "panels": panels}


def report(record: dict[str, Any]) -> str:
    """A table of exponents, and one of the points of each series."""
    machine = record["machine"]
    lines = [
        f"One thread; {machine['processor']}, {machine['cores']} cores; load {record['load'][0]:.1f} to {record['load'][1]:.1f}.",
        "",
        "| by | what | from | to | fitted exponent | right is | |",
        "|---|---|---:|---:|---:|---|---|",
    ]
    for one in record["growth"]:
        series = SERIES[one["series"]]
        ends = [f"{size:,}: {one['written'].format(value)}" for size, value in ((one["sizes"][i], one["values"][i]) for i in (0, -1))]
        exponent = "-" if one["exponent"] is None else f"{one['exponent']:.2f}"
        right = f"at most {one['right']:g}: {one['why']}"
        lines.append(f"| {series.size} | {one['what']}, {one['unit']} | {' | '.join(ends)} | {exponent} | {right} | {verdict(one)} |")
    lost = [f"- {one['series']} {one['size']:,}, {one['variant']}: {one['failed']}" for one in record["points"] if "failed" in one]
    return "\n".join([*lines, *(["", "Failed:", "", *lost] if lost else [])])


def verdict(one: dict[str, Any]) -> str:
    """Whether a fitted exponent is within what is right."""
    if one["exponent"] is None:
        return "too few points"
    return "as it should be" if one["exponent"] <= one["right"] + TOLERANCE else "grows too fast"
