"""`codetune data decontaminate`: which rows of a file overlap a benchmark, and the others as a file of their own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from codetune.cli.output import to_stderr
from codetune.config import DecontaminateConfig
from codetune.data.catalogue import TEST_SETS
from codetune.data.files import DATA_VARIABLE, Row, read_rows
from codetune.data.overlap.decontaminate import Decontaminator, Overlap
from codetune.data.overlap.training_overlap import benchmarks_against, found_benchmarks
from codetune.records import Document, Message, to_json
from codetune.runs import write_rows

SHOWN = 3  # overlaps of one row


def decontaminate(
    path: Annotated[Path, typer.Argument(help="A JSON or JSONL file; every string in a row counts.")],
    benchmark: Annotated[list[str] | None, typer.Option(help="Only against this one; may be repeated. Default: all found.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the clean rows to this JSONL file.")] = None,
    run_words: Annotated[int, typer.Option(min=5, help="So many words in a row, in common, are an overlap.")] = 13,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find rows that overlap a benchmark, row by row: which problem, by which rule, how much of it. Leave them out of --out.

    Rules: `text`, `code` and `tests` are runs of 13 words in common (Brown et al. 2020), at least a tenth of the problem's; `ast` is the
    reference itself but for names, docstrings and layout. A text of a benchmark that has only 8 to 12 words counts as a whole.
    """
    rows = read_rows(path)
    config = DecontaminateConfig(against=tuple(benchmark) if benchmark else "auto", run_words=run_words)
    against = benchmarks_against(config)
    names = [each.name for each in against]
    to_stderr().print(f"against {', '.join(names)}{'' if benchmark else _missing()}")
    found = Decontaminator.of(against, config).overlaps([_document(row) for row in rows])
    if out is not None:
        write_rows(out, (row.values for row, overlaps in zip(rows, found, strict=True) if not overlaps))
    hits = [(row, overlaps) for row, overlaps in zip(rows, found, strict=True) if overlaps]
    shared = Counter(name for _, overlaps in hits for name in {overlap.benchmark for overlap in overlaps})
    if as_json:
        listed = [{"row": row.where, "benchmark": each[0].benchmark, "overlaps": to_json(each)} for row, each in hits]
        counted = {"rows": len(rows), "shared": dict(sorted(shared.items()))}
        print(json.dumps(counted | {"against": names, "run_words": run_words, "hits": listed}))
        return
    for row, overlaps in hits:
        print(f"{row.where}: {_listed(overlaps)}{_task(row)}")
    counts = f" ({', '.join(f'{name} {count}' for name, count in sorted(shared.items()))})" if hits else ""
    clean = f"; the other {len(rows) - len(hits)} are in {out}" if out else ""
    print(f"{len(hits)} of {len(rows)} rows overlap a benchmark{counts}{clean}")


def _document(row: Row) -> Document:
    return Document(id=row.where, messages=tuple(Message("", text) for text in _strings(row.values)))


def _strings(value: object) -> Iterator[str]:
    """Every string in a row, however deep: tests and notes leak too."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(item)


def _listed(overlaps: tuple[Overlap, ...]) -> str:
    more = f"; and {len(overlaps) - SHOWN} more" if len(overlaps) > SHOWN else ""
    return "; ".join(map(str, overlaps[:SHOWN])) + more


def _task(row: Row) -> str:
    return f" (task_id {row.values['task_id']!r})" if "task_id" in row.values else ""


def _missing() -> str:
    lacking = sorted(set(TEST_SETS) - set(found_benchmarks()))
    return f"; not found: {', '.join(lacking)} (set {DATA_VARIABLE})" if lacking else ""
