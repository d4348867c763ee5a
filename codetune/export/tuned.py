"""What is given away: a tuned model or adapter, and all that its run has written down about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.errors import UserError
from codetune.models.stages import ADAPTER_CONFIG, base_of, method_of, read, run_of, tuned_folder, tuned_hash
from codetune.records import Json
from codetune.study.gates import Gate, TrainingMeasurements, training_gates

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Tuned:
    """An adapter or a whole model in `folder`. `recipe` and `train` are empty where no run of codetune's wrote it."""

    given: str
    folder: Path
    recipe: Json
    train: Json
    results: tuple[Json, ...]  # of `codetune evaluate --out`, or of the study's cell

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or Path(self.given).resolve().name)

    @property
    def whole(self) -> bool:
        """Whether it is a model by itself (full fine-tuning), not an adapter."""
        return not (self.folder / ADAPTER_CONFIG).exists()

    @property
    def method(self) -> str:
        return method_of(self.folder)

    @property
    def base(self) -> str:
        """The model that it was tuned on, "" where a whole model does not say. Raises UserError where an adapter does not."""
        return str(self.recipe.get("model", "")) if self.whole else base_of(self.folder)

    @property
    def on_4_bits(self) -> bool:
        return bool(self.recipe.get("method", {}).get("quantize") == "nf4")

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Those of the study's cell; else those of the training, from what it measured of itself."""
        for result in self.results:
            if "gates" in result:
                return tuple(Gate(**gate) for gate in result["gates"])
        checks = self.train.get("checks", {})
        return tuple(training_gates(TrainingMeasurements.of(checks))) if checks else ()


def find(given: str, scores: Sequence[Path] = ()) -> Tuned:
    """A run folder, an adapter or a whole model, with the results of evaluations: those in the run's folder, and those given.

    Raises UserError where nothing was tuned there, or a given result is another model's.
    """
    folder = tuned_folder(Path(given))
    run = run_of(folder)
    recipe, train = (read(run / name) for name in ("config.json", "train.json")) if run else ({}, {})
    if run and not train:
        raise UserError(f"the run in {run} is not finished: run the same `codetune train` again, it goes on where it stopped")
    own = tuned_hash(folder)
    found = [result for result in map(read, _beside(run)) if "cell" in result or result.get("tuned_hash") == own]
    for path in scores:
        file = path / RESULT if path.is_dir() else path
        result = read(file)
        if "benchmarks" not in result:
            raise UserError(f"--scores {path}: no {RESULT} of `codetune evaluate --out` there")
        if result.get("tuned_hash") != own:
            raise UserError(f"--scores {path}: these are the scores of another model: evaluate {given} with --out, and give that folder")
        found += [] if result in found else [result]
    return Tuned(given, folder, recipe, train, tuple(found))


def _beside(run: Path | None) -> Iterable[Path]:
    """Where results of a run may lie: a study's cell, and `codetune evaluate --out runs/x/scores`."""
    return [] if run is None else sorted([*run.glob(RESULT), *run.glob(f"*/{RESULT}")])
