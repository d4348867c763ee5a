"""`--tiny` cuts a study to a trial, and models that are not here stand in for by tiny random ones, from the data to the report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from codetune.config import StudyRecipe, load_recipe, shipped_recipes, validate
from codetune.data.files import DATA_VARIABLE
from codetune.errors import UserError
from codetune.models.names import SHIPPED
from codetune.study.drive import run_study
from codetune.study.plan import plan_cells
from codetune.study.published import published
from codetune.study.report import report_json
from codetune.study.stand_ins import STAND_IN, is_stand_in, stands_for, tiny

pytestmark = pytest.mark.skipif(not SHIPPED["codetune-base"].is_dir(), reason="the shipped model is not in this checkout")
PAIRS = [{"intent": f"add {n} to all of `xs`", "rewritten_intent": None, "snippet": f"[x + {n} for x in xs]"} for n in range(90)]
STUDIES = sorted(name for name in shipped_recipes() if name.startswith("paper-"))
OPEN = sorted(name for name, path in shipped_recipes().items() if path.parent.name == "open-questions")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data sets in their published form, a few rows of each."""
    for name in (DATA_VARIABLE, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "0")  # so that what the code sets is undone
    monkeypatch.setenv(DATA_VARIABLE, "")
    folder = tmp_path / "data sets"
    rows = [row | {"question_id": number} for number, row in enumerate(PAIRS)]
    write(folder / "conala/conala-train.json", json.dumps(rows))
    write(folder / "conala/conala-test.json", json.dumps([row | {"snippet": row["snippet"] + " # t"} for row in rows[:25]]))
    code = "def scale{0}(values):\n    \"\"\"Multiply every value by {0}.\"\"\"\n    return [value * {0} for value in values]\n"
    functions = [{"code": code.format(n), "docstring": f"Multiply every value by {n}.", "repo": f"o/r{n}"} for n in range(90)]
    for split, chosen in (("train", functions[:60]), ("valid", functions[60:70]), ("test", functions[70:])):
        write(folder / f"codexglue-python/{split}.jsonl", "\n".join(map(json.dumps, chosen)))
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def study(out: Path, **changes: Any) -> StudyRecipe:
    tree = {
        "name": "small", "models": [{"name": "gpt2", "label": "GPT-2", "pretrained_on": "text"}], "methods": ["prefix_tuning"],
        "data": {"source": "conala", "loss_on": "all", "validation_examples": 10}, "benchmarks": "conala", "seeds": 3,
        "train": {"epochs": 2, "max_seq_len": 128, "batch_tokens": 512, "precision": "bf16"}, "cells_at_once": 2, "out": str(out),
    }  # fmt: skip
    return validate(tree | changes, StudyRecipe, "test")


def test_a_recipe_is_cut_and_its_absent_models_get_stand_ins(root: Path, tmp_path: Path) -> None:
    models = [
        {"name": "gpt2", "train": {"epochs": 9, "max_seq_len": 64}, "pretrained_on": "text"},
        {"name": "codetune-base", "methods": {"lora": {"learning_rate": 1e-3}}},
    ]
    rows = [{"label": label, "model": of, "tuned": "codetune-base"} for label, of in (("mine", "gpt2"), ("yours", "codetune-base"))]
    data = {"source": "conala", "root": str(root)}
    cut = tiny(study(tmp_path / "out", models=models, methods=["lora"], rows=rows, data=data, search={"trials": 9}))
    gpt2, base = cut.models
    assert (gpt2.called, gpt2.pretrained_on) == ("gpt2" + STAND_IN, "text")
    assert Path(gpt2.name) == tmp_path / "out/stand-ins/gpt2"
    assert (base.name, base.called) == ("codetune-base", "codetune-base")
    assert cut.train_of(gpt2).train_tokens == 20_000
    assert cut.train_of(gpt2).epochs is None
    assert cut.train_of(gpt2).max_seq_len == 64
    assert [row.label for row in cut.rows] == ["yours"]
    assert cut.search is not None
    assert (cut.search.trials, cut.max_problems, cut.seeds) == (2, 20, (0, 1))
    assert [is_stand_in(model.called) for model in cut.models] == [True, False]
    assert stands_for(gpt2.called) == "gpt2"


def test_data_that_is_absent_is_one_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"leetcode.*not found"):
        tiny(study(tmp_path / "out", data={"source": "leetcode", "root": str(root)}))
    with pytest.raises(UserError, match=r"data.root=.*is not a folder"):
        tiny(study(tmp_path / "out", data={"source": "conala", "root": str(tmp_path / "nowhere")}))


def test_a_study_of_a_stand_in_runs_to_its_report(root: Path, tmp_path: Path) -> None:
    data = {"source": "conala", "root": str(root), "loss_on": "all", "validation_examples": 10}
    measures = dict.fromkeys(("held_out", "memory", "matrix_rate", "latency"), False)
    cut = tiny(study(tmp_path / "out", data=data, seeds=1, measures=measures, decoding={"max_new_tokens": 16}))
    cut = cut.model_copy(update={"train": cut.train.model_copy(update={"train_tokens": 2000}), "max_problems": 4})  # the same, in seconds
    run_study(cut, lambda progress: None)
    cells = report_json(tmp_path / "out")["cells"]
    assert {(cell["model"], cell["method"]) for cell in cells} == {("GPT-2" + STAND_IN, "base"), ("GPT-2" + STAND_IN, "prefix_tuning")}
    assert all(cell["valid"] for cell in cells), cells
    again: list[str] = []
    run_study(cut, lambda progress: again.append(progress.stage))
    assert again == []
    assert STAND_IN in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("name", [*STUDIES, *OPEN])
def test_every_published_study_is_planned(root: Path, tmp_path: Path, name: str) -> None:
    recipe = load_recipe(shipped_recipes()[name], StudyRecipe, [f"data.root={root}", f"out={tmp_path}/out"])
    if recipe.published:
        models = {model.called for model in recipe.models}
        assert {figure.model for figure in published(recipe.published).figures} & models
    if name == "paper-interview.yaml":  # on what `codetune data prepare` wrote
        with pytest.raises(UserError, match="codetune data prepare"):
            tiny(recipe)
        return
    cells = plan_cells(recipe)
    assert len({cell.folder for cell in cells}) == len(cells)
    assert {cell.called for cell in cells} == {model.called for model in recipe.models}


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in [*STUDIES, *OPEN] if each != "paper-interview.yaml"])
def test_every_published_study_runs_on_stand_ins(root: Path, tmp_path: Path, name: str) -> None:
    """Minutes each: every model, row and gate."""
    recipe = load_recipe(shipped_recipes()[name], StudyRecipe, [f"data.root={root}", f"out={tmp_path}/out", "cells_at_once=2"])
    run_study(tiny(recipe), lambda progress: None)
    cells = report_json(tmp_path / "out")["cells"]
    assert {cell["model"].removesuffix(STAND_IN) for cell in cells} == {model.called for model in recipe.models}
    assert os.environ["HF_HUB_OFFLINE"] == "1"
