"""`--tiny`: a study cut to a trial of minutes, with tiny random models in place of those that are not on this machine.

It shows that a recipe runs from its data to its report, every row and every gate, without a download. Scores of stand-ins say nothing of
the models that they stand for, and reports call them so. A model that is here is run as itself.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from codetune.config import ModelConfig, SearchConfig, StudyRecipe
from codetune.data.training import training_data
from codetune.errors import UserError
from codetune.records import Document

STAND_IN = " (tiny stand-in)"  # what reports put after a model's name
FOLDER = "stand-ins"  # in the study's folder
TINY_TOKENS, TINY_PROBLEMS, TINY_ANSWER, TINY_SEEDS = 20_000, 20, 48, 2
_TEXTS = 2_000  # documents of each data set, to train the tokenizer on
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def tiny(recipe: StudyRecipe) -> StudyRecipe:
    """The recipe as `--tiny` runs it, its stand-ins made in the study's folder. Raises UserError for data that is not on this machine."""
    for name in _OFFLINE:
        os.environ[name] = "1"
    folders = _made([model.name for model in recipe.models], _texts(recipe), recipe.folder / FOLDER)
    models = tuple(_cut(model, folders) for model in recipe.models)
    names = {name for model in recipe.models if model.name not in folders for name in (model.name, model.called)}
    changes = {
        "models": models,
        "rows": tuple(row for row in recipe.rows if row.model in names),  # what was tuned elsewhere fits no stand-in
        "seeds": recipe.seeds[:TINY_SEEDS],
        "train": recipe.train.changed({"train_tokens": TINY_TOKENS, "validations": min(1, recipe.train.validations)}),
        "search": _few(recipe.search),
        "max_problems": min(TINY_PROBLEMS, recipe.max_problems or TINY_PROBLEMS),
        "decoding": recipe.decoding.model_copy(
            update={"max_new_tokens": min(TINY_ANSWER, recipe.decoding.max_new_tokens), "n": min(2, recipe.decoding.n)}
        ),
    }
    return recipe.model_copy(update=changes)


def stands_for(called: str) -> str:
    """The model that a report's name stands for: itself, or of a stand-in the one whose place it takes."""
    return called.removesuffix(STAND_IN)


def is_stand_in(called: str) -> bool:
    """Whether a report's name is that of a tiny random model."""
    return called.endswith(STAND_IN)


def _cut(model: ModelConfig, folders: Mapping[str, str]) -> ModelConfig:
    """A model with its stand-in where it has one, and with the trial's budget."""
    train = {key: value for key, value in model.train.items() if key not in ("train_tokens", "epochs", "validations")}
    changes: dict[str, object] = {"train": train}
    if model.name in folders:
        changes |= {"name": folders[model.name], "label": model.called + STAND_IN}
    return model.model_copy(update=changes)


def _few(search: SearchConfig | None) -> SearchConfig | None:
    """A search of the default and one more."""
    return None if search is None else search.model_copy(update={"trials": 2, "budget_share": 1.0})


def _texts(recipe: StudyRecipe) -> list[str]:
    """What the tokenizer of stand-ins is trained on: the study's own training data."""
    found: list[str] = []
    for data in recipe.data:
        for document in itertools.islice(training_data(data).documents(), _TEXTS):
            found += _parts(document)
    return found


def _parts(document: Document) -> list[str]:
    parts = [document.instruction, document.input, document.prompt, document.text, *(turn.content for turn in document.messages)]
    return [part for part in parts if part]


def _made(models: list[str], texts: list[str], home: Path) -> dict[str, str]:
    """Folders of stand-ins by the names of the models that are not here. Making them takes torch: a process does it."""
    command = [sys.executable, "-W", "ignore", "-m", "codetune.models.stand_in", str(home)]
    done = subprocess.run(command, input=json.dumps({"models": models, "texts": texts}), capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UserError(f"--tiny: stand-ins could not be made in {home}: {last[0]}")
    found: dict[str, str] = json.loads(done.stdout)
    return found
