"""An audit of published tables: each claim of docs/studies/audit.md is recomputed and printed.

    python -m bench audit                 every claim
    python -m bench audit empties         one of them

No training and no download. Claims about data sets read them from the folder that CODETUNE_DATA names, and say so where it is not set.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

from codetune.errors import UserError, nearest

WHAT = "Published tables, recomputed: what the claims of docs/studies/audit.md stand on."
HOW_LONG = "Under a minute. CODETUNE_DATA names the data sets."
NAMES = ("empties", "shares", "positions", "assessors", "tokenisers", "syntax", "spans")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("claims", nargs="*", help=f"of {', '.join(NAMES)}; default: all")


def run(options: argparse.Namespace) -> None:
    """Print what each claim stands on. Raises UserError for an unknown claim, or for one that is asked for and whose data is not there."""
    for name in options.claims:
        if name not in NAMES:
            raise UserError(f"no claim {name!r}; {nearest(name, NAMES)}")
    claims: dict[str, Any] = importlib.import_module("bench.audit_claims").CLAIMS  # it imports torch, which other benchmarks do without
    for name in options.claims or NAMES:
        print(f"{name}: {(claims[name].__doc__ or '').splitlines()[0]}")
        for line in _lines(claims[name], bool(options.claims)):
            print(f"  {line}")


def _lines(claim: Any, asked: bool) -> Sequence[str]:
    try:
        return list(claim().lines)
    except UserError as error:
        if asked:
            raise
        return (f"not shown: {error}",)
