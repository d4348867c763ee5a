"""The benchmarks from the command line; without a name, the list of them.

python -m bench all
python -m bench
python -m bench step
python -m bench training --out results.json
python -m bench codebleu
python -m bench execution
python -m bench attacks
python -m bench duplicates
python -m bench packing
python -m bench data
python -m bench memory
python -m bench gpu
python -m bench soft-prompts
python -m bench audit
python -m bench statistics
python -m bench serve-fuzz
python -m bench serve-load
python -m bench generation
python -m bench serving
python -m bench mend
python -m bench study
python -m bench quickstart
python -m bench startup
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shlex
import sys
import tempfile
from pathlib import Path

from bench import (
    attacks,
    audit,
    codebleu,
    data,
    duplicates,
    every,
    execution,
    generation,
    gpu,
    memory,
    mend,
    packed_prompts,
    packing,
    quickstart,
    results,
    scaling,
    serve_fuzz,
    serve_load,
    serving,
    soft_prompts,
    startup,
    statistics,
    step,
    study,
    training,
)
from bench.goals import GOALS
from codetune.errors import UserError

BENCHMARKS = {
    "all": every, "step": step, "training": training, "codebleu": codebleu, "execution": execution, "attacks": attacks,
    "duplicates": duplicates, "packing": packing, "packed-prompts": packed_prompts,
    "data": data, "memory": memory, "gpu": gpu, "scaling": scaling, "soft-prompts": soft_prompts, "audit": audit, "statistics": statistics,
    "generation": generation, "serve-fuzz": serve_fuzz, "serve-load": serve_load, "serving": serving, "mend": mend,
    "study": study, "quickstart": quickstart, "startup": startup,
}  # fmt: skip


KEPT = {goal.benchmark for goal in GOALS} | set(every.BEYOND_GOALS)  # what docs/performance.md is made of


def main(arguments: list[str]) -> int:
    """Run one benchmark, or list all. Exit code 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks against peers, side by side on this machine.")
    commands = parser.add_subparsers(dest="name", metavar="BENCHMARK")
    for name, module in BENCHMARKS.items():
        own = commands.add_parser(name, help=module.WHAT, description=f"{module.WHAT} {module.HOW_LONG}")
        module.add_arguments(own)
        if name in KEPT:
            own.add_argument("--keep", action="store_true", help="keep the record in docs/performance/ and write docs/performance.md anew")
    options = parser.parse_args(arguments)
    if options.name is None:
        for name, module in BENCHMARKS.items():
            print(f"python -m bench {name:15} {module.WHAT}\n{'':31} {module.HOW_LONG}")
        return 0
    try:
        if options.name in KEPT and options.keep:
            _run_and_keep(options, shlex.join(argument for argument in arguments if argument != "--keep"))
        else:
            BENCHMARKS[options.name].run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


class _Copied(io.StringIO):
    """What is printed, also kept."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        return super().write(text)


def _run_and_keep(options: argparse.Namespace, command: str) -> None:
    """Run, keep the record with what was printed, write the page."""
    from bench import page

    module = BENCHMARKS[options.name]
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(_Copied()) as printed:
        options.out = options.out or Path(scratch) / "record.json"
        module.run(options)
        left_out = getattr(module, "NOT_KEPT", ())
        path = results.keep(options.out, options.name, f"python -m bench {command}", printed.getvalue(), left_out)
    page.write()
    print(f"kept {path} and wrote {page.PAGE}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
