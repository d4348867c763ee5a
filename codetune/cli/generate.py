"""`codetune generate`: write samples for a benchmark's problems, to be scored by `codetune score`.

    codetune generate --model codetune-base --adapter runs/train-lora --benchmark basics-known --out samples.jsonl
    codetune generate --model codetune-base --benchmark humaneval --out samples.jsonl -n 20 --temperature 0.2 --top-p 0.95
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetune.cli.answering import choose_template, load_benchmark, open_answerer, worked_examples, write_answers
from codetune.cli.flags import AnswerFlags
from codetune.cli.output import to_stderr
from codetune.cli.running import takes_flags
from codetune.errors import UserError
from codetune.runs import write_rows

app = typer.Typer(add_completion=False)


@app.command()
@takes_flags
def generate(
    benchmark: Annotated[str, typer.Option(help="A benchmark's name, or a JSONL file or folder of your own problems.")],
    out: Annotated[Path, typer.Option(help="The JSONL file to write. Finished answers are kept in OUT.partial until it is whole.")],
    flags: AnswerFlags,
) -> None:
    """Write samples for a benchmark's problems. Stopped in the middle, the same command goes on where it was."""
    flags.require_consistent()
    decoding = flags.decoding()
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; give the path of a JSONL file, as in --out {out / 'samples.jsonl'}")
    problems = load_benchmark(benchmark, flags.data, flags.limit)
    examples = worked_examples(benchmark, flags.few_shot, flags.data, flags.prompt_style)
    say = to_stderr()
    answerer = open_answerer(flags)
    template = choose_template(answerer, problems.problems, flags.prompt_style, examples, say)
    partial = out.with_name(out.name + ".partial")
    answers = write_answers(answerer, problems, template, decoding, partial, say)
    write_rows(out, answers.rows())
    partial.unlink()
    made = answers.generation
    finish = ", ".join(f"{count} {why}" for why, count in sorted(made["finish"].items()))
    say.print(f"{made['tokens']:,} tokens in {made['seconds']:.1f} s ({made['tokens_per_s']:,.0f} per second); ended by: {finish}")
    print(f"{len(answers.samples)} samples of {len(problems.problems)} problems: {out}")
