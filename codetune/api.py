"""The Python face of the command line: score samples, evaluate a model, run a study, in one call each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from codetune.config import DecodingConfig, StudyRecipe
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.samples import read_samples
from codetune.data.sources import austin_examples
from codetune.evaluate import Scores, answer, score_samples
from codetune.prompts.template import AUSTIN_3SHOT
from codetune.records import Sample
from codetune.score.verdicts import open_checker
from codetune.study.drive import CellProgress, run_study
from codetune.study.report import Report


def score(samples: Path | str | Iterable[Sample], benchmark: str, *, data: Path | None = None, ks: Sequence[int] | None = None) -> Scores:
    """Scores of samples (records, or a JSONL file) on a benchmark: a name, or a JSONL file or folder of your own problems.

    Raises UserError for a faulty row, a missing sample or an unknown benchmark.
    """
    problems = load_benchmark(benchmark, data)
    rows = read_samples(Path(samples), problems) if isinstance(samples, str | Path) else list(samples)
    with open_checker() as sandbox:
        return score_samples(problems, rows, sandbox if problems.executes else None, ks=ks)


def evaluate(
    model: str, benchmark: str, *, adapter: Path | str | None = None, prompt_style: str = "instruction",
    decoding: DecodingConfig | None = None, data: Path | None = None,
) -> Scores:  # fmt: skip
    """A model's (and adapter's) scores on a benchmark: it writes the samples, the sandbox runs them."""
    from codetune.generate.engine import OwnEngine  # torch is loaded only where a model is
    from codetune.models.open import open_model

    loaded, adapted = open_model(model, Path(adapter) if adapter else None)
    problems = load_benchmark(benchmark, data)
    template = loaded.template(prompt_style, austin_examples() if prompt_style == AUSTIN_3SHOT else ())
    answers = answer(OwnEngine(loaded, adapted), problems, template, decoding or DecodingConfig())
    with open_checker() as sandbox:
        return score_samples(problems, answers.samples, sandbox if problems.executes else None)


def study(recipe: StudyRecipe, report: Callable[[CellProgress], None] | None = None) -> Report:
    """Run a study to its report; what is done already is found and not repeated."""
    return run_study(recipe, report or (lambda progress: None))
