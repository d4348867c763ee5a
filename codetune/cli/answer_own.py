"""A model that codetune opens itself, as `generate`, `evaluate` and `chat` have it answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codetune.cli.flags import ModelFlags
from codetune.errors import UserError
from codetune.generate.engine import OwnEngine
from codetune.models.load import model_hash
from codetune.models.open import open_model, trained_prompt_style
from codetune.models.stages import tuned_folder, tuned_hash
from codetune.prompts.template import Template
from codetune.records import Json, Problem


class OwnAnswerer:
    """An open model, and the prompt style that it was trained with, if known."""

    def __init__(self, flags: ModelFlags) -> None:
        """Loads the model. Raises UserError where it cannot be had."""
        if not flags.model:
            raise UserError("--model is missing: give codetune-base (ships with codetune), a folder, or a hub id")
        self.precision = flags.precision or "fp32"
        self.loaded, self.adapted = open_model(flags.model, flags.adapter, self.precision, flags.device or "auto", flags.quantize)
        self.trained_style = trained_prompt_style(flags.adapter or Path(flags.model))
        adapter = str(flags.adapter) if flags.adapter else None
        tuned = flags.adapter or Path(flags.model)
        found = tuned_hash(tuned_folder(tuned)) if tuned.is_dir() else None  # by which a model card finds its scores
        self.identity: Json = {"model": flags.model, "adapter": adapter, "model_hash": self.loaded.model_hash, "tuned_hash": found}

    def usual_style(self, continues: bool) -> tuple[str, str]:
        """The one of the training, else `completion` for code to go on with, else `instruction`."""
        if self.trained_style:
            return self.trained_style, "as in the training"
        return ("completion", "the problems are code to go on with") if continues else ("instruction", "the default")

    def template(self, style: str, examples: Sequence[Problem]) -> Template:
        return self.loaded.template(style, examples)

    def engine(self, template: Template) -> OwnEngine:
        return OwnEngine(self.loaded, self.adapted)

    def settings(self, template: Template) -> Json:
        return {"weights_hash": model_hash(self.adapted.root), "precision": self.precision}
