"""Writes a study's report from its records: one HTML page that needs nothing else, Markdown, and the figures as files.

`codetune study report DIR` calls `write_report`; with `--json` it prints `report_json`. Nothing is trained, run or scored
here, and torch is not imported: the same records give the same report, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.records import Json
from codetune.study import words
from codetune.study.browse import Browser, browser
from codetune.study.cells import Study, Unfinished
from codetune.study.comparisons_view import AgreementTable, ComparisonTable, agreement_tables, comparison_tables
from codetune.study.conclusions import conclusions
from codetune.study.examples import RULE, Example, choose_examples
from codetune.study.figures import BlockFigure, write_block_figures
from codetune.study.findings import advice_of
from codetune.study.gate_view import (
    DiagnosisLine,
    GateLine,
    GateMessage,
    diagnosis_lines,
    gate_lines,
    gate_messages,
    gates_summary,
)
from codetune.study.grounds import Recommendation
from codetune.study.main_table import CODE_MARK, MainTable, main_table
from codetune.study.measure_view import MeasureTable, measure_tables
from codetune.study.numbers import write_numbers
from codetune.study.plots import RowStyle, color_variable, style_of
from codetune.study.provenance import CellText, FactCard, cell_texts, fact_cards
from codetune.study.published_view import PublishedView, published_view
from codetune.study.reading import read_blocks
from codetune.study.rendering import render, write_page
from codetune.study.study_figures import write_study_figures
from codetune.study.summary import Block, cell_json
from codetune.study.verdicts import verdicts_json
from codetune.study.view import (
    MARK,
    DifferencePanel,
    FamilyTable,
    JudgementView,
    MetricTable,
    Names,
    Tile,
    VerdictTable,
    difference_panel,
    family_tables,
    judgement_view,
    metric_tables,
    tiles,
    verdict_tables,
)
from codetune.study.votes import Judgement, read_judgements


@dataclass(frozen=True, slots=True)
class Report:
    """Where the report is, and what it says first."""

    html: Path
    markdown: Path
    plots: tuple[Path, ...]
    numbers: tuple[Path, ...]
    headlines: tuple[str, ...]
    notes: tuple[str, ...]  # what could not be written, and what to do
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
    measures: Sequence[MeasureTable]
    differences: Sequence[DifferencePanel]
    figures: Sequence[BlockFigure]
    verdicts: Sequence[VerdictTable]
    families: Sequence[FamilyTable]
    examples: Sequence[Example]
    examples_title: str
    comparisons: Sequence[ComparisonTable]
    agreements: Sequence[AgreementTable]
    judgements: Sequence[JudgementView]
    gates: Sequence[GateLine]
    gate_messages: Sequence[GateMessage]
    gates_summary: str
    diagnosis: Sequence[DiagnosisLine]
    advice: Recommendation | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table of contents."""

    anchor: str
    title: str


@dataclass(frozen=True, slots=True)
class Page:
    """All that the templates show."""

    title: str
    colors: Mapping[str, RowStyle]  # CSS variable -> style
    row_colors: Mapping[str, str]  # row -> CSS variable
    conclusions: Sequence[str]
    overview: MainTable | None  # over all blocks, where there are several
    published: PublishedView | None
    figures: Sequence[BlockFigure]  # of the study, beyond those of a block
    blocks: Sequence[BlockPage]
    browser: Browser | None
    unfinished: Sequence[Unfinished]
    finished: int
    facts: Sequence[FactCard]
    cells: Sequence[CellText]
    recipe: str
    rule: str = RULE
    mark: str = MARK
    code_mark: str = CODE_MARK

    @property
    def contents(self) -> list[Entry]:
        """Where the page leads: of a single model its parts, of several the overview and each of them."""
        entries = [Entry("conclusions", "Conclusions")] if self.conclusions else []
        entries += [Entry("overview", "Overview")] if self.overview else []
        entries += [Entry("published", "Published figures")] if self.published else []
        figures = [Entry("study-figures", "The study in figures")] if self.figures else []
        entries += [*figures, Entry("models", "Each model")] if self.overview else []
        for block in () if self.overview else self.blocks:
            parts: dict[str, object] = {"Results": True, "Measures": block.measures, "Differences": block.differences}
            parts |= {"Comparisons": block.comparisons, "Judgements": block.judgements, "Figures": block.figures}
            parts |= {"Verdicts": block.verdicts, "Families": block.families, "Gates": block.gates, "Diagnosis": block.diagnosis}
            entries += [Entry(f"{block.anchor}-{part.lower()}", part) for part, there in parts.items() if there]
        entries += figures if not self.overview else []
        entries += [Entry("browse", "Completions")] if self.browser else []
        return [*entries, Entry("provenance", "What produced it")]


def write_report(study_dir: Path) -> Report:
    """`report.html`, `report.md` and `plots/` in the study's folder, from whatever cells are finished.

    Raises UserError where the folder holds no study.
    """
    study, blocks = read_blocks(study_dir)
    labels = list(dict.fromkeys(row.label for block in blocks for row in block.rows))
    styles = style_of(labels)
    colors = {label: color_variable(styles, label) for label in labels}
    judgements = read_judgements(study_dir)
    pages = [_block_page(study, block, number, len(blocks), styles, judgements) for number, block in enumerate(blocks)]
    anchors = [page.anchor for page in pages]
    page = Page(
        title=study.name,
        colors={colors[label]: style for label, style in styles.items()},
        row_colors=colors,
        conclusions=conclusions(blocks),
        overview=main_table(blocks, anchors, colors) if len(blocks) > 1 else None,
        published=published_view(str(study.recipe.get("published") or ""), blocks),
        figures=write_study_figures(study, blocks, study_dir / "plots", styles) if blocks else [],
        blocks=pages,
        browser=browser(blocks, anchors, colors),
        unfinished=study.unfinished,
        finished=len(study.cells),
        facts=fact_cards(study),
        cells=cell_texts(study),
        recipe=json.dumps(study.recipe, indent=2, ensure_ascii=False),
    )
    html, markdown = study_dir / "report.html", study_dir / "report.md"
    write_page(html, render("report.html.jinja", page=page))
    write_page(markdown, render("report.md.jinja", page=page))
    figures = [*page.figures, *(figure for shown in pages for figure in shown.figures)]
    plots = tuple(figure.path.with_suffix(ending) for figure in figures for ending in (".png", ".svg"))
    numbers, missing = write_numbers(study_dir, blocks)
    notes = (missing,) if missing else ()
    return Report(html, markdown, plots, numbers, tuple(shown.headline for shown in pages), notes, study.unfinished)


def report_json(study_dir: Path) -> Json:
    """The comparison as data: `cells` (one per model x method x data), `unfinished`, `headlines`. Raises UserError as above."""
    study, blocks = read_blocks(study_dir)
    return {
        "study": study.name,
        "headlines": [words.headline(block) for block in blocks],
        "conclusions": list(conclusions(blocks)),
        "cells": [cell_json(block, row) for block in blocks for row in block.rows],
        **verdicts_json(blocks),
        "unfinished": [{"key": cell.key, "label": cell.label, "state": cell.state} for cell in study.unfinished],
    }


def _block_page(
    study: Study, block: Block, number: int, total: int, styles: Mapping[str, RowStyle], judgements: Sequence[Judgement]
) -> BlockPage:
    colors = {label: color_variable(styles, label) for label in styles}
    names = Names(colors, frozenset(r.label for r in block.rows if r.invalid_cause))
    anchor, prefix = f"block-{number + 1}", f"{number + 1}-" if total > 1 else ""
    first = block.benchmarks[0] if block.benchmarks else ""
    examples = choose_examples(block, first) if first else []
    return BlockPage(
        anchor=anchor,
        title=f"{block.model} on {block.data}",
        headline=words.headline(block),
        coverage=words.coverage(block),
        tiles=tiles(block),
        table=main_table([block], [anchor], colors),
        metrics=metric_tables(block, names),
        measures=measure_tables(block, names),
        differences=[difference_panel(block, names, benchmark) for benchmark in block.benchmarks],
        figures=write_block_figures(block, study.path / "plots", prefix, styles),
        verdicts=verdict_tables(block, names),
        families=family_tables(block, names),
        examples=examples,
        examples_title=f"{_count(len(examples))} completions of {first}, side by side",
        comparisons=comparison_tables(block, names),
        agreements=agreement_tables(block),
        judgements=[judgement_view(block, names, one) for one in judgements if (one.model, one.data) == (block.model, block.data)],
        gates=gate_lines(block),
        gate_messages=gate_messages(block),
        gates_summary=gates_summary(block),
        diagnosis=diagnosis_lines(block),
        advice=advice_of(study, block),
    )


_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def _count(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)
