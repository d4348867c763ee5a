"""Where words go: answers to stdout, narration to stderr; tables are as wide as they need to be where no terminal limits them."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PAGE_COLUMNS = 160  # of a file or a pipe


def to_stdout() -> Console:
    """For what was asked for, on stdout."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PAGE_COLUMNS)


def to_stderr() -> Console:
    """For what happens meanwhile, on stderr; takes no markup, so that names of files may hold anything."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def progress_bar(console: Console, counts: bool = True) -> Progress:
    """A bar on the terminal, with how many of how many or else a percentage; nothing where stderr is a file."""
    share = MofNCompleteColumn() if counts else TaskProgressColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), share, TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
