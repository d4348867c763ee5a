"""The benchmarks from the command line; without a name, the list of them.

python -m bench
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
python -m bench serving
python -m bench mend
"""

from __future__ import annotations

import argparse
import sys

from bench import (
    attacks,
    audit,
    codebleu,
    data,
    duplicates,
    execution,
    gpu,
    memory,
    mend,
    packing,
    serve_fuzz,
    serve_load,
    serving,
    soft_prompts,
    statistics,
    training,
)
from codetune.errors import UserError

BENCHMARKS = {
    "training": training, "codebleu": codebleu, "execution": execution, "attacks": attacks, "duplicates": duplicates, "packing": packing,
    "data": data, "memory": memory, "gpu": gpu, "soft-prompts": soft_prompts, "audit": audit, "statistics": statistics,
    "serve-fuzz": serve_fuzz, "serve-load": serve_load, "serving": serving, "mend": mend,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run one benchmark, or list all. Exit code 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks against peers, side by side on this machine.")
    commands = parser.add_subparsers(dest="name", metavar="BENCHMARK")
    for name, module in BENCHMARKS.items():
        module.add_arguments(commands.add_parser(name, help=module.WHAT, description=f"{module.WHAT} {module.HOW_LONG}"))
    options = parser.parse_args(arguments)
    if options.name is None:
        for name, module in BENCHMARKS.items():
            print(f"python -m bench {name:12} {module.WHAT}\n{'':28} {module.HOW_LONG}")
        return 0
    try:
        BENCHMARKS[options.name].run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
