"""What a study plans: rows that stand once for all data sizes, tuned rows with one search, rows brought along, equal budgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetune.config import StudyRecipe, validate
from codetune.errors import UserError
from codetune.models.names import SHIPPED
from codetune.study.budgets import equal_budget
from codetune.study.plan import plan_cells, plan_searches

pytestmark = pytest.mark.skipif(not SHIPPED["codetune-base"].is_dir(), reason="the shipped model is not in this checkout")


def planned(folder: Path, **changes: Any) -> StudyRecipe:
    tree = {
        "name": "planned", "models": "codetune-base", "data": {"source": "basics"}, "methods": ["full", "lora"],
        "benchmarks": ["basics-known"], "train": {"train_tokens": 20000, "max_seq_len": 256}, "out": str(folder),
    }  # fmt: skip
    return validate(tree | changes, StudyRecipe, "test")


def adapter_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    return folder


def test_every_size_has_its_rows_and_rows_that_train_nothing_are_there_once(tmp_path: Path) -> None:
    cells = plan_cells(planned(tmp_path, data_sizes=[50, 200], seeds=2, few_shot=1))
    rows = [(cell.row, cell.data_label, cell.seed) for cell in cells]
    assert rows[:2] == [("base", "basics", 0), ("base few-shot", "basics", 0)]
    tuned = [(row, f"basics {size}", seed) for row in ("full", "lora") for size in (50, 200) for seed in (0, 1)]
    assert rows[2:] == tuned
    assert [cell.data.max_examples for cell in cells[2:6]] == [50, 50, 200, 200]
    assert cells[2].factors == {"pretrained_on": "", "corpus": "basics", "data_size": 50}
    assert len({cell.key for cell in cells}) == len(cells)


def test_a_row_is_searched_once_for_all_its_seeds(tmp_path: Path) -> None:
    recipe = planned(tmp_path, seeds=3, search={"trials": 3})
    searches, cells = plan_searches(recipe), plan_cells(recipe)
    assert [search.row for search in searches] == ["full", "lora"]
    tuned = [cell for cell in cells if cell.row == "lora tuned"]
    assert [cell.seed for cell in tuned] == [0, 1, 2]
    assert {cell.search for cell in tuned} == {searches[1].folder}
    assert [cell.same_if_default for cell in tuned] == [cell.folder for cell in cells if cell.row == "lora"]
    other = plan_searches(planned(tmp_path, seeds=3, search={"trials": 4}))
    assert {search.folder for search in searches}.isdisjoint(search.folder for search in other)
    alone = [cell.row for cell in plan_cells(planned(tmp_path, search={"trials": 3}, default_rows=False))]
    assert alone == ["base", "full tuned", "lora tuned"]


def test_a_model_has_settings_of_its_own(tmp_path: Path) -> None:
    model = {"name": "codetune-base", "label": "ours", "pretrained_on": "code", "train": {"precision": "bf16"},
             "methods": {"lora": {"learning_rate": 1e-4}}, "without": {"full": "not reported"}}  # fmt: skip
    base, lora = plan_cells(planned(tmp_path, models=["codetune-base", model]))[-2:]
    assert (base.row, base.called, lora.row, lora.called) == ("base", "ours", "lora", "ours")
    assert lora.train is not None
    assert (lora.train.train.precision, lora.train.method.learning_rate) == ("bf16", 1e-4)
    assert lora.factors["pretrained_on"] == "code"
    with pytest.raises(UserError, match="model ours: no row 'prefix'"):
        planned(tmp_path, models=[model | {"methods": {"prefix": {}}}])


def test_what_was_tuned_elsewhere_is_a_row(tmp_path: Path) -> None:
    row = {"label": "theirs", "model": "codetune-base", "adapter": str(adapter_in(tmp_path / "theirs"))}
    cells = plan_cells(planned(tmp_path, rows=row))
    assert [(cell.row, cell.method, cell.train) for cell in cells[:2]] == [("base", "base", None), ("theirs", "brought", None)]
    (tmp_path / "theirs" / "adapter_config.json").write_text("{}")
    assert plan_cells(planned(tmp_path, rows=row))[1].key != cells[1].key
    with pytest.raises(UserError, match=r"row 'theirs': no adapter in .*nowhere"):
        plan_cells(planned(tmp_path, rows=row | {"adapter": str(tmp_path / "nowhere")}))
    with pytest.raises(UserError, match="row 'theirs': model 'gpt2' is none of the study's"):
        planned(tmp_path, rows=row | {"model": "gpt2"})
    with pytest.raises(UserError, match="give either adapter or tuned"):
        planned(tmp_path, rows={"label": "theirs", "model": "codetune-base"})


def test_equal_time_gives_a_cheaper_method_more_tokens(tmp_path: Path) -> None:
    """LoRA leaves out the weights' gradients: two products a token for full fine-tuning's three, and what it adds itself."""
    cells = {cell.row: cell for cell in plan_cells(planned(tmp_path, budget={"equal": "time"}))}
    lora, full = cells["lora"], cells["full"]
    assert lora.train is not None
    assert full.train is not None
    settled, notes = equal_budget(lora.train, lora.budget, lora.reference)
    assert equal_budget(full.train, full.budget, full.reference)[0] == full.train
    assert 1.1 < settled.train.train_tokens / 20000 < 1.5
    assert notes["budget"]["train_tokens"] == settled.train.train_tokens
    plain = {cell.row: cell for cell in plan_cells(planned(tmp_path))}
    assert (full.key == plain["full"].key, lora.key == plain["lora"].key) == (True, False)


@pytest.mark.slow
def test_equal_memory_takes_smaller_batches_before_it_refuses(tmp_path: Path) -> None:
    def settled(memory_gb: float) -> Any:
        train = {"train_tokens": 2000, "batch_tokens": 1000, "max_seq_len": 256, "micro_batch_size": 2}
        cell = plan_cells(planned(tmp_path, train=train, budget={"equal": "memory", "memory_gb": memory_gb}))[1]
        assert cell.train is not None
        return equal_budget(cell.train, cell.budget, cell.reference)

    roomy, notes = settled(50)
    assert (roomy.train.micro_batch_size, roomy.train.activation_checkpointing) == (2, False)
    tight, _ = settled(notes["budget"]["forecast_bytes"] / 1e9 - 0.001)
    assert (tight.train.micro_batch_size, tight.train.activation_checkpointing) != (2, False)
    with pytest.raises(UserError, match=r"budget\.memory_gb=0\.01: full takes \d\.\d GB at the least"):
        settled(0.01)
    with pytest.raises(UserError, match="memory_gb goes with equal: memory"):
        planned(tmp_path, budget={"equal": "tokens", "memory_gb": 3})
