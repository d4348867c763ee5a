"""The Python face of the command line: score samples, evaluate a model, mend a file, run a study, in one call each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from codetune.config import DecodingConfig, StudyRecipe
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.given_tests import problem_of
from codetune.data.samples import read_samples
from codetune.data.sources import austin_examples
from codetune.evaluate import Scores, answer, score_samples
from codetune.mending import Asking, CodeFile, Mended
from codetune.mending import mend as mend_in_rounds
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


def mend(
    file: Path | str, tests: Path | str, model: str = "codetune-base", *, adapter: Path | str | None = None, rounds: int = 4,
    decoding: DecodingConfig | None = None, prompt_style: str | None = None, entry_point: str = "",
) -> Mended:  # fmt: skip
    """Have a model repair a file until its tests pass. The file stays as it is: `patch` and `best.program` say what it would become.

    Raises UserError for what cannot be read, for tests without a test, and for code that does not fit the model.
    """
    code = CodeFile.read(Path(file))
    problem = problem_of(Path(tests), code.path, code.text, entry_point)
    from codetune.generate.continuous import ContinuousEngine  # torch is loaded only where a model is
    from codetune.models.several import open_voices

    adapters = {"adapter": Path(adapter)} if adapter else {}
    with open_checker() as checker, closing(ContinuousEngine(open_voices(model, adapters), rows=1)) as engine:
        asking = Asking(engine, engine.models()[-1].name, decoding, prompt_style)
        tried = tuple(mend_in_rounds(code.text, problem, asking, checker, rounds, code.name))
        return Mended.of(tried, code, checker.tier)


def study(recipe: StudyRecipe, report: Callable[[CellProgress], None] | None = None) -> Report:
    """Run a study to its report; what is done already is found and not repeated."""
    return run_study(recipe, report or (lambda progress: None))
