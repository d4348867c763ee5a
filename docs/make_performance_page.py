"""The page on speed and memory, `docs/performance.md`, made by bench/page.py of the records that benchmarks have kept."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # benchmarks are no part of the package

from bench.page import text
from bench.results import read


def page() -> str:
    """The whole page as Markdown. Its figures are written by `python -m bench.page`."""
    return text(read())
