"""`codetune runs`: what is on disk, what it is worth, how runs differ, and how to be rid of them.

    codetune runs list
    codetune runs show runs/train-lora
    codetune runs compare runs/train-lora runs/rank-8
    codetune runs rm runs/rank-8
    codetune runs rm --unplanned runs/quickstart
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from codetune.cli.output import to_stderr, to_stdout
from codetune.errors import UserError
from codetune.records import to_json
from codetune.shelf.against import Paired, SideBySide, side_by_side
from codetune.shelf.describe import curve_of, describe
from codetune.shelf.find import Found, find, look_at
from codetune.shelf.remove import Removal, plan_checkpoints, plan_removal, remove, unplanned
from codetune.study.tables import format_bytes, format_seconds, format_small_percent

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, show, compare and remove what is on disk.")
HOME = Path("runs")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_(
    folders: Annotated[list[Path] | None, typer.Argument(help="Where to look. Default: runs.", show_default=False)] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Also cells of studies and trials of searches.")] = False,
    as_json: AsJson = False,
) -> None:
    """Training runs, studies, prepared data and scores, the newest first."""
    places = _places(folders)
    found = sorted(find(places, parts), key=lambda one: (-one.changed, str(one.path)))
    if as_json:
        print(json.dumps({"runs": [to_json(one) | {"path": str(one.path)} for one in found]}))
        return
    console = to_stdout()
    if not found:
        console.print(f"nothing of codetune's in {', '.join(map(str, places))}", markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("folder", "kind", "model", "method", "data", "state"):
        table.add_column(column)
    for column in ("age", "size", "loss", "score"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found:
        loss = "" if one.best_loss is None else f"{one.best_loss:.4f}"
        shown = [str(one.path), one.kind, one.model, one.method, one.data, one.state, _age(one.changed), format_bytes(one.size_bytes)]
        table.add_row(*map(escape, [*shown, loss, _score(one)]))
    console.print(table)
    top = sum(one.size_bytes for one in found if not any(other.path in one.path.parents for other in found))
    console.print(f"{len(found)} in {', '.join(map(str, places))}, {format_bytes(top)}", markup=False)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="A folder as `runs list` shows it, or a cell or trial in one.")],
    as_json: AsJson = False,
) -> None:
    """One of them: settings, curve, result, scores, what produced it, and who stands on it."""
    found = _known(run)
    sections = describe(found, [HOME])
    if as_json:
        print(json.dumps({"run": to_json(found) | {"path": str(run)}, **sections, "curve": curve_of(run)}, default=str))
        return
    console = to_stdout()
    console.print(f"[bold]{escape(str(run))}[/bold]: {found.kind} {escape(found.name)}, {escape(found.state)}")
    console.print(f"{format_bytes(found.size_bytes)}, last written {_age(found.changed)} ago", markup=False)
    for name, section in sections.items():
        console.print(f"\n[bold]{name}[/bold]")
        table = Table(box=None, show_header=False, padding=(0, 2))
        for key, value in section.items():
            table.add_row(escape(key), escape(_value(key, value)))
        console.print(table)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more: training runs, cells of studies, folders of scores.")],
    as_json: AsJson = False,
) -> None:
    """The settings that differ, results side by side, and paired differences on the problems that both answered."""
    found = side_by_side([_known(run) for run in runs])
    if as_json:
        paired = [to_json(pair) | {"gap": pair.gap.summary() if pair.gap else None} for pair in found.paired]
        print(json.dumps(to_json(found) | {"paired": paired}, default=str))
    else:
        _show_side_by_side(found)


@app.command()
def rm(
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders as `runs list` shows them.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    old_cells: Annotated[bool, typer.Option("--unplanned", help="Of the studies given, only cells of earlier plans.")] = False,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Only checkpoints of finished runs. Default: of all in runs.")] = False,
) -> None:
    """Remove runs. What codetune did not write stays; what is being written is refused."""
    if old_cells and checkpoints:
        raise UserError("--unplanned and --checkpoints: give one of them")
    if not runs and not checkpoints:
        raise UserError("nothing to remove: give folders as `codetune runs list` shows them")
    if checkpoints:
        planned = plan_checkpoints(_places(runs))
    else:
        folders = [cell for study in runs or () for cell in unplanned(study)] if old_cells else list(runs or ())
        planned = plan_removal(folders, [HOME] if HOME.is_dir() else [])
    if not planned:
        print("nothing to remove: 0 B freed")
        return
    _tell(planned)
    if not yes:
        _ask(planned)
    freed = 0
    for removal in planned:
        for left in remove(removal):
            to_stderr().print(f"kept {left}: codetune did not write it")
        freed += removal.size_bytes
    print(f"{format_bytes(freed)} freed")


def _places(folders: Sequence[Path] | None) -> list[Path]:
    """The folders as given, else `runs`. Raises UserError for one that is not there."""
    places = list(folders or [HOME])
    for place in places:
        if not place.is_dir():
            hint = "" if folders else " yet: `codetune train` and `codetune study run` make it"
            raise UserError(f"no folder {place}{hint or ': give folders that hold runs'}")
    return places


def _known(folder: Path) -> Found:
    found = look_at(folder)
    if found is None:
        missing = "there is no such folder" if not folder.exists() else "codetune did not write it"
        raise UserError(f"no run {folder}: {missing}; `codetune runs list` shows what there is")
    return found


def _tell(planned: Sequence[Removal]) -> None:
    say = to_stderr()
    for removal in planned:
        what = "checkpoint of " if removal.only_checkpoint else ""
        say.print(f"{what}{removal.kind} {removal.folder}: {format_bytes(removal.size_bytes)}")
        for stand in removal.stands:
            say.print(f"  warning: {stand.who} {stand.how}")


def _ask(planned: Sequence[Removal]) -> None:
    """Raises UserError where nobody can answer; ends the command where the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"{len(planned)} to remove and no terminal to ask at: give --yes to remove without being asked")
    total = format_bytes(sum(removal.size_bytes for removal in planned))
    if not typer.confirm(f"remove these {len(planned)} ({total})?", err=True):
        raise typer.Exit(1)


def _show_side_by_side(found: SideBySide) -> None:
    console = to_stdout()
    for title, rows in (("settings that differ", found.settings), ("results", found.results)):
        console.print(f"[bold]{title}[/bold]" + ("" if rows else ": none"))
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("")
        for name in found.names:
            table.add_column(escape(name), justify="right")
        for key, values in rows.items():
            table.add_row(escape(key), *(escape(_value(key, value)) for value in values))
        if rows:
            console.print(table)
        console.print()
    for pair in found.paired:
        console.print(_paired(pair), markup=False)
    if not found.paired:
        console.print("no benchmark has stored scores of both: `codetune evaluate --out RUN/scores` writes them", markup=False)


def _paired(pair: Paired) -> str:
    """`basics-known pass@1, lora against full, 300 problems: -4.0 points, 95% interval -8.1 to 0.2; ...`."""
    if pair.gap is None:
        return f"{pair.benchmark}, {pair.second} against {pair.first}: no paired difference: {pair.why_not}"
    gap, problems = pair.gap.difference, pair.gap.num_problems
    better = "better" if gap.low > 0 else "worse" if gap.high < 0 else "not told apart"
    return (
        f"{pair.benchmark} {pair.gap.metric}, {pair.second} against {pair.first}, {problems} problems: {100 * gap.value:+.1f} points, "
        f"95% interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}; better on {gap.wins} problems, worse on {gap.losses}; "
        f"p = {gap.p_value:.3g}: {better}"
    )


def _value(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    last = key.rpartition(".")[2]
    if last.endswith("_bytes"):
        return format_bytes(value)
    if last == "trainable_share":
        return format_small_percent(value)
    if last == "seconds":
        return format_seconds(value)
    if " " in key:
        return f"{100 * value:.1f}"  # a score: `basics-known pass@1`
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _score(one: Found) -> str:
    return "" if one.score is None else f"{100 * one.score:.1f} ({one.score_of})"


def _age(changed: float) -> str:
    seconds = max(0.0, time.time() - changed)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
