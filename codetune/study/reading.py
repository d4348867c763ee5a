"""A study's folder as blocks, with the problems as the study kept them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codetune.data import benchmarks
from codetune.errors import UserError
from codetune.records import Problem
from codetune.study.cells import Study, read_problems, read_study
from codetune.study.summary import Block, blocks_of


def read_blocks(study_dir: Path) -> tuple[Study, list[Block]]:
    """A study's folder as blocks. Raises UserError where the folder holds no study."""
    study = read_study(study_dir)
    names = dict.fromkeys(name for cell in study.cells for name in cell.benchmarks)
    return study, blocks_of(study, {name: problems_of(study_dir, name) for name in names})


def problems_of(study_dir: Path, benchmark: str) -> Sequence[Problem]:
    """As the study kept them, else as they load today; without either the report shows no instructions and references."""
    kept = read_problems(study_dir, benchmark)
    if kept:
        return kept
    try:
        return benchmarks.load(benchmark).problems
    except UserError:
        return ()
