"""The account of a preparation in a terminal: what went into data, what came out, and what was left out why."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.records import Json


def show(manifest: Json, console: Console) -> None:
    """The account of a preparation, source by source."""
    for source in manifest["sources"]:
        console.print(f"[bold]{escape(source['source'])}[/bold]: {source['rows']:,} rows in, {source['documents']:,} documents out")
        table = Table(box=None, show_header=False, padding=(0, 2))
        for reason, count in source["left_out"].items():
            examples = [f"{one['where']}{': ' + one['detail'] if one['detail'] else ''}" for one in source["examples"].get(reason, ())]
            table.add_row(f"{count:,}", escape(reason), f"[dim]{escape(chr(10).join(examples))}[/dim]")
        for label, counts in (("masked", source["masked"]), ("licences", source["licences"]), ("overlap", source["overlaps"])):
            if counts:
                table.add_row("", label, escape(", ".join(f"{name} {count:,}" for name, count in counts.items())))
        table.add_row("", "length in words", _histogram(source["lengths"]))
        console.print(table)
    for split, made in manifest.get("tokens", {}).items():
        long = f", {made['left_out_long']:,} left out as too long" if made["left_out_long"] else ""
        tokens = f"{made['tokens']:,} tokens ({made['supervised_tokens']:,} count for the loss)"
        console.print(f"{split}: {made['examples']:,} examples{long}, {tokens} in {made['rows']:,} rows, {made['fill']:.2%} full")
        console.print(f"  length in tokens  {_histogram(made['lengths'])}", markup=False)
    splits = ", ".join(f"{split['documents']:,} {name}" for name, split in manifest["splits"].items())
    against = ", ".join(manifest["decontamination"]["against"]) or "no benchmark (none was found: set CODETUNE_DATA)"
    console.print(f"{splits}; version {manifest['version']}; compared with {against}", markup=False)


def _histogram(lengths: dict[str, int]) -> str:
    """Counts by powers of two: `8-15 ▂ 120`."""
    bins = sorted((int(name), count) for name, count in lengths.items())
    most = max((count for _, count in bins), default=1)
    return "  ".join(f"{_range(place)} {'▁▂▃▄▅▆▇█'[count * 7 // most]} {count:,}" for place, count in bins)


def _range(place: int) -> str:
    return str(place) if place < 2 else f"{1 << (place - 1)}-{(1 << place) - 1}"
