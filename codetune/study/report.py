"""Writes a study's report from its records: one HTML page that needs nothing else, Markdown, and the figures as files.

`codetune study report DIR` calls `write_report`; with `--json` it prints `report_json`. Nothing is trained, run or scored
here, and torch is not imported: the same records give the same report, byte for byte.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from codetune.data import benchmarks
from codetune.errors import UserError
from codetune.records import Json, Problem
from codetune.study import words
from codetune.study.cells import Study, Unfinished, read_problems, read_study
from codetune.study.conclusions import conclusions
from codetune.study.examples import RULE, Example, choose_examples, highlighted
from codetune.study.figures import BlockFigure, write_block_figures
from codetune.study.gate_view import GateLine, GateMessage, gate_lines, gate_messages, gates_summary
from codetune.study.plots import RowStyle, color_variable, style_of
from codetune.study.provenance import CellText, FactCard, cell_texts, fact_cards
from codetune.study.summary import Block, blocks_of, cell_json
from codetune.study.verdicts import verdicts_json
from codetune.study.view import (
    MARK,
    DifferencePanel,
    FamilyTable,
    MainTable,
    MetricTable,
    Names,
    Tile,
    VerdictTable,
    difference_panel,
    family_tables,
    main_table,
    metric_tables,
    tiles,
    verdict_tables,
)


@dataclass(frozen=True, slots=True)
class Report:
    """Where the report is, and what it says first."""

    html: Path
    markdown: Path
    plots: tuple[Path, ...]
    headlines: tuple[str, ...]
    unfinished: tuple[Unfinished, ...]


@dataclass(frozen=True, slots=True)
class BlockPage:
    """All that the templates show of one model x data."""

    anchor: str
    title: str
    headline: str
    coverage: str
    tiles: Sequence[Tile]
    table: MainTable
    metrics: Sequence[MetricTable]
    differences: Sequence[DifferencePanel]
    figures: Sequence[BlockFigure]
    verdicts: Sequence[VerdictTable]
    families: Sequence[FamilyTable]
    examples: Sequence[Example]
    examples_title: str
    gates: Sequence[GateLine]
    gate_messages: Sequence[GateMessage]
    gates_summary: str


@dataclass(frozen=True, slots=True)
class Page:
    """All that the templates show."""

    title: str
    colors: Mapping[str, RowStyle]  # CSS variable -> style
    row_colors: Mapping[str, str]  # row -> CSS variable
    blocks: Sequence[BlockPage]
    unfinished: Sequence[Unfinished]
    finished: int
    facts: Sequence[FactCard]
    cells: Sequence[CellText]
    recipe: str
    rule: str = RULE
    mark: str = MARK


def write_report(study_dir: Path) -> Report:
    """`report.html`, `report.md` and `plots/` in the study's folder, from whatever cells are finished.

    Raises UserError where the folder holds no study.
    """
    study, blocks = _read(study_dir)
    labels = list(dict.fromkeys(row.label for block in blocks for row in block.rows))
    styles = style_of(labels)
    colors = {label: color_variable(styles, label) for label in labels}
    pages = [_block_page(block, number, len(blocks), study_dir / "plots", styles) for number, block in enumerate(blocks)]
    page = Page(
        title=study.name,
        colors={colors[label]: style for label, style in styles.items()},
        row_colors=colors,
        blocks=pages,
        unfinished=study.unfinished,
        finished=len(study.cells),
        facts=fact_cards(study),
        cells=cell_texts(study),
        recipe=json.dumps(study.recipe, indent=2, ensure_ascii=False),
    )
    html, markdown = study_dir / "report.html", study_dir / "report.md"
    _write(html, _environment(autoescape=True).get_template("report_html.jinja").render(page=page))
    _write(markdown, _environment(autoescape=False).get_template("report_md.jinja").render(page=page))
    plots = tuple(figure.path.with_suffix(ending) for shown in pages for figure in shown.figures for ending in (".png", ".svg"))
    return Report(html, markdown, plots, tuple(shown.headline for shown in pages), study.unfinished)


def report_json(study_dir: Path) -> Json:
    """The comparison as data: `cells` (one per model x method x data), `unfinished`, `headlines`. Raises UserError as above."""
    study, blocks = _read(study_dir)
    return {
        "study": study.name,
        "headlines": [words.headline(block) for block in blocks],
        "conclusions": list(conclusions(blocks)),
        "cells": [cell_json(block, row) for block in blocks for row in block.rows],
        **verdicts_json(blocks),
        "unfinished": [{"key": cell.key, "label": cell.label, "state": cell.state} for cell in study.unfinished],
    }


def _read(study_dir: Path) -> tuple[Study, list[Block]]:
    study = read_study(study_dir)
    names = dict.fromkeys(name for cell in study.cells for name in cell.benchmarks)
    return study, blocks_of(study, {name: _problems(study_dir, name) for name in names})


def _problems(study_dir: Path, benchmark: str) -> Sequence[Problem]:
    """As the study kept them, else as they load today; without either the report shows no instructions and references."""
    kept = read_problems(study_dir, benchmark)
    if kept:
        return kept
    try:
        return benchmarks.load(benchmark).problems
    except UserError:
        return ()


def _block_page(block: Block, number: int, total: int, plots: Path, styles: Mapping[str, RowStyle]) -> BlockPage:
    names = Names({label: color_variable(styles, label) for label in styles}, frozenset(r.label for r in block.rows if r.invalid_cause))
    prefix = f"{number + 1}-" if total > 1 else ""
    first = block.benchmarks[0] if block.benchmarks else ""
    examples = choose_examples(block, first) if first else []
    return BlockPage(
        anchor=f"block-{number + 1}",
        title=f"{block.model} on {block.data}",
        headline=words.headline(block),
        coverage=words.coverage(block),
        tiles=tiles(block),
        table=main_table(block, names),
        metrics=metric_tables(block, names),
        differences=[difference_panel(block, names, benchmark) for benchmark in block.benchmarks],
        figures=write_block_figures(block, plots, prefix, styles),
        verdicts=verdict_tables(block, names),
        families=family_tables(block, names),
        examples=examples,
        examples_title=f"{_count(len(examples))} completions of {first}, side by side",
        gates=gate_lines(block),
        gate_messages=gate_messages(block),
        gates_summary=gates_summary(block),
    )


def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("codetune.study", "."), autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"python": _python, "fenced": fenced, "plain": plain, "first_line": _first_line, "ticks": _ticks}
    return environment


def fenced(code: str, language: str = "python") -> str:
    """A Markdown code block whose fence is longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def plain(text: str) -> str:
    """Text for Markdown: no markup, no HTML, no table cell broken, on one line.

    >>> plain("a|b <i>*c*")
    'a&#124;b &lt;i&gt;&#42;c&#42;'
    """
    return re.sub(r"[&<>|*_`\[\]\\#!~]", lambda found: _ENTITIES.get(found[0], f"&#{ord(found[0])};"), " ".join(text.split()))


_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def _count(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def _python(code: str) -> Markup:
    return Markup(highlighted(code))


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _ticks(text: str) -> Markup:
    """Text with its `back-ticked` parts as code, all of it escaped."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a reader never meets half a report."""
    partial = path.with_name(path.name + ".partial")
    # A lone surrogate in a completion is valid JSON and not valid UTF-8.
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(partial, path)
