"""The `codetune` command: finds the module of the chosen command, runs it, and turns a user's mistake into one line.

Each command is a module of its own, `codetune/cli/<command>.py`, that holds a Typer `app`; it is imported only when it is
chosen, so that `codetune --help` is quick and no command pays for another's imports.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import typer
import typer.main
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.errors import TERMINATED, Terminated, UserError, nearest, terminate_in_order
from codetune.imports import without_collecting

COMMANDS = {
    "quickstart": "tune a small model four ways on what ships in the package, and report which way won",
    "data": "list, prepare and inspect training data",
    "plan": "show what a recipe would run, with a forecast of memory and time",
    "train": "tune a model as a recipe says",
    "generate": "write samples for a benchmark's problems",
    "evaluate": "generate and score in one go",
    "score": "score the samples in a JSONL file",
    "study": "compare methods: run, status, report",
    "recommend": "where to start for a model, data and GPU",
    "init": "write a commented recipe",
    "runs": "list, show, compare and remove runs",
    "mend": "repair a file until its tests pass",
    "chat": "talk to a tuned model in the terminal",
    "serve": "serve a tuned model",
    "export": "merge an adapter or convert it for other programs",
    "doctor": "show hardware, versions, the sandbox's tier and what is missing",
}
USER_ERROR = 2
INTERRUPTED = 130
_DISK = {errno.ENOSPC, errno.EDQUOT}
_WRITING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


def main() -> None:
    """The console script's entry."""
    terminate_in_order()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code: 0, 2 for a user's mistake, 130 for Ctrl-C, 143 for SIGTERM.

    Exceptions that no user caused pass through, with their traceback.
    """
    try:
        code = _dispatch(list(arguments))
        sys.stdout.flush()
        return code
    except UserError as error:
        return _complain(str(error))
    except typer.TyperException as error:
        return _complain(_usage_message(error))
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except Terminated:
        return _interrupted("terminated", TERMINATED)
    except BrokenPipeError:  # the reader (`| head`) has what it wanted
        _give_up_stdout()
        return 1
    except OSError as error:
        message = _disk_message(error)
        if message is None:
            raise
        _give_up_stdout()
        return _complain(message)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h"):
        _print_help()
        return 0
    name, *rest = arguments
    if name == "--version":
        from importlib.metadata import version  # it takes longer than all of the rest

        print(f"codetune {version('codetune')}")
        return 0
    if name.startswith("-"):
        raise UserError(f"no such option {name!r}; {nearest(name, ['--help', '--version'])}; a command comes first, as in 'codetune score'")
    if name not in COMMANDS:
        raise UserError(f"no such command {name!r}; {nearest(name, COMMANDS)}")
    with without_collecting():
        module = importlib.import_module(f"codetune.cli.{name}")
    command = typer.main.get_command(module.app)
    code = command.main(args=rest, prog_name=f"codetune {name}", standalone_mode=False)
    if code == INTERRUPTED:  # how Typer hands on Ctrl-C
        return _interrupted()
    return code if isinstance(code, int) else 0


def _print_help() -> None:
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, summary in COMMANDS.items():
        table.add_row(f"[bold]{name}[/bold]", summary)
    console = Console(highlight=False)
    console.print("codetune fine-tunes language models to write code and finds out which tuning method is best.\n")
    console.print("Usage: codetune COMMAND \\[ARGUMENTS]\n")
    console.print(table)
    console.print("\n'codetune COMMAND --help' explains one command; 'codetune --version' says which version this is.")


def _complain(message: str) -> int:
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]codetune:[/red] {escape(line)}")
    return USER_ERROR


def _interrupted(how: str = "interrupted", code: int = INTERRUPTED) -> int:
    print(f"codetune: {how}; what was finished is kept, and the same command goes on from there", file=sys.stderr)
    return code


def _give_up_stdout() -> None:
    """Without this Python fails once more, in many lines, when it closes a stdout that takes nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_message(error: typer.TyperException) -> str:
    """Typer's complaint about the command line, with the nearest valid option where one was misspelt."""
    context = getattr(error, "ctx", None)
    given = getattr(error, "option_name", None)
    message = error.format_message().rstrip(".")
    if context is None:
        return message
    if given and type(error).__name__ == "NoSuchOption":
        valid = [name for parameter in context.command.params for name in parameter.opts if name.startswith("-")]
        message = f"no such option {given!r}; {nearest(given, [*valid, '--help'])}"
    elif message.startswith("No such command"):
        message += f"; valid: {', '.join(context.command.list_commands(context))}"
    return f"{message} (see '{context.command_path} --help')"


def _disk_message(error: OSError) -> str | None:
    """One line for what the user's disk refuses; None for any other failure."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _DISK:
        return f"no disk space left{where}; free some and run the same command again: what was finished is kept"
    if error.errno in _WRITING:
        return f"not allowed to write{where}: {error.strerror}; choose another folder with --out or mend its permissions"
    return None
