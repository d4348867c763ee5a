"""Recipes: what is shipped loads, and every mistake is one line that names what is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from codetune.config import LoraConfig, StudyRecipe, TrainConfig, TrainRecipe, content_hash, load_recipe
from codetune.data_recipe import DataRecipe
from codetune.errors import UserError

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
TRAIN = "name: a\nmodel: gpt2\ndata: {source: basics}\n"
STUDY = "name: a\nmodels: gpt2\ndata: {source: basics}\nbenchmarks: basics-known\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str, *overrides: str) -> str:
    """The message about a faulty recipe, which is always one line that names the file or the override."""
    kind = StudyRecipe if "models:" in text else TrainRecipe
    with pytest.raises(UserError) as caught:
        load_recipe(written(folder, text), kind, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert "recipe.yaml" in message or "--set" in message
    return message


def test_fp16_is_answered_by_what_there_is(tmp_path: Path) -> None:
    found = complaint(tmp_path, TRAIN, "train.precision=fp16")
    assert "train.precision: no 'fp16' (did you mean 'bf16'? valid: auto, bf16, bf16_weights, fp32)" in found


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_loads(path: Path) -> None:
    tree = yaml.safe_load(path.read_text())
    recipe = load_recipe(path, DataRecipe if "sources" in tree else StudyRecipe if "models" in tree else TrainRecipe)
    assert recipe.name == tree["name"]


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, TRAIN), TrainRecipe)
    assert (recipe.method.name, recipe.seed, recipe.train.packing) == ("full", 0, "exact")


def test_short_forms(tmp_path: Path) -> None:
    """One of a list needs no brackets, a method's name stands for its defaults, and `seeds: 3` counts from 0."""
    recipe = load_recipe(written(tmp_path, STUDY + "methods: lora\nseeds: 3\n"), StudyRecipe)
    assert [model.name for model in recipe.models] == ["gpt2"]
    assert recipe.methods == (LoraConfig(),)
    assert recipe.seeds == (0, 1, 2)
    assert load_recipe(written(tmp_path, STUDY + "seeds: [5, 7]\n"), StudyRecipe).seeds == (5, 7)
    assert recipe.folder == Path("runs/a")


def test_recipe_survives_json(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, STUDY + "methods: [full, lora]\n"), StudyRecipe)
    again = StudyRecipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe
    assert content_hash(again.model_dump(mode="json")) == content_hash(recipe.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (TRAIN + "modle: gpt2\n", "unknown key 'modle' (did you mean 'model'?"),
        (TRAIN + "train: {batch_token: 3}\n", "unknown key 'train.batch_token' (did you mean 'batch_tokens'?"),
        (TRAIN + "method: {name: lora, lora_rnk: 3}\n", "unknown key 'method.lora_rnk' (did you mean 'lora_rank'?"),
        (STUDY + "methods: [full, {name: lora, rank: 3}]\n", "unknown key 'methods.1.rank' (did you mean 'lora_rank'?"),
        (STUDY + "decoding: {top_k: 3}\n", "unknown key 'decoding.top_k' (did you mean 'top_p'?"),
        (
            STUDY + "methods: [lorra]\n",
            "methods.0: no method 'lorra' (did you mean 'lora'? valid: bitfit, ",
        ),
        (TRAIN + "method: {lora_rank: 3}\n", "method: no method '' (valid: bitfit, bottleneck, "),
        (TRAIN + "train: {packing: exakt}\n", "train.packing: no 'exakt' (did you mean 'exact'?"),
        (TRAIN + "train: {train_tokens: 0}\n", "train.train_tokens: must be greater than 0, given 0"),
        (TRAIN + "train: {train_tokens: many}\n", "train.train_tokens: must be a valid integer"),
        (TRAIN + "train: 7\n", "train: must be a section of keys, given 7"),
        (TRAIN + "method: 7\n", "method: must be a section of keys, given 7"),
        (STUDY + "seeds: 0\n", "seeds: "),
        ("name: a\ndata: {source: basics}\n", "missing key 'model'"),
        ("- a\n- b\n", "holds a list; a recipe is a mapping"),
        ("", "holds a NoneType; a recipe is a mapping"),
        ("name: [a\n", "is not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in complaint(tmp_path, text)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    message = complaint(tmp_path, "nmae: a\nmodel: gpt2\ndata: {source: basics, splitt: x}\ntrain: {beta2: 2}\n")
    for fault in (
        "missing key 'name'",
        "unknown key 'nmae'",
        "unknown key 'data.splitt' (did you mean 'split'?",
        "train.beta2: must be less than 1",
    ):
        assert fault in message


def test_a_method_takes_only_its_own_keys(tmp_path: Path) -> None:
    message = complaint(tmp_path, TRAIN + "method: {name: prompt_tuning, lora_rank: 3}\n")
    assert "unknown key 'method.lora_rank'" in message
    assert "num_virtual_tokens" in message


def test_overrides(tmp_path: Path) -> None:
    """Values are read as YAML, sections that the file leaves out are made, and items of lists are reached by number."""
    path = written(tmp_path, TRAIN + "method: {name: lora}\n")
    recipe = load_recipe(path, TrainRecipe, ["train.batch_tokens=64", "method.learning_rate=1e-3", "data.source=conala", "out=null"])
    assert (recipe.train.batch_tokens, recipe.method.learning_rate, recipe.data.source, recipe.out) == (64, 1e-3, "conala", None)
    study = written(tmp_path, STUDY.replace("{source: basics}", "[{source: basics}]") + "methods: [full]\n")
    got = load_recipe(study, StudyRecipe, ["data.0.source=mbpp", "seeds=[4]", "methods=[{name: lora, lora_rank: 3}]"])
    assert (got.data[0].source, got.seeds, got.methods) == ("mbpp", (4,), (LoraConfig(lora_rank=3),))


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("seed", "give it as key=value"),
        ("=3", "give it as key=value"),
        ("sede=3", "unknown key 'sede' (did you mean 'seed'?"),
        ("train.micro_batch=3", "did you mean 'micro_batch_size'?"),
        ("name.first=3", "there is no section to set 'first' in"),
        ("name.first.letter=3", "'first' is not a section"),
        ("data.source=[a", "is not valid YAML"),
    ],
)
def test_faulty_overrides(tmp_path: Path, override: str, wanted: str) -> None:
    assert wanted in complaint(tmp_path, TRAIN, override)


def test_a_missing_file_names_the_shipped_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no recipe at .*nothing\.yaml: .*base-model\.yaml"):
        load_recipe(tmp_path / "nothing.yaml", TrainRecipe)


def test_a_folder_and_binary_are_not_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_recipe(tmp_path, TrainRecipe)
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read"):
        load_recipe(tmp_path / "recipe.yaml", TrainRecipe)


def test_recipes_do_not_change_after_loading(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, TRAIN), TrainRecipe)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1


def test_content_hash_is_of_the_content() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})


SIZES = {
    "lora": "lora_rank", "pissa": "lora_rank", "bottleneck": "bottleneck_size", "prefix_tuning": "num_virtual_tokens",
    "prompt_tuning": "num_virtual_tokens",
}  # fmt: skip


@pytest.mark.parametrize("method", SIZES)
def test_a_size_and_a_share_are_one_too_many(method: str, tmp_path: Path) -> None:
    """Even where the size is the default; a share alone is kept as such, through JSON, too."""
    said = complaint(tmp_path, TRAIN + f"method: {{name: {method}, {SIZES[method]}: 16, trainable_share: 0.01}}\n")
    assert f"method: {SIZES[method]} and trainable_share both say how much is trained: give one of them" in said
    recipe = load_recipe(written(tmp_path, TRAIN + f"method: {{name: {method}, trainable_share: 0.01}}\n"), TrainRecipe)
    tree = recipe.model_dump(mode="json")
    assert SIZES[method] not in tree["method"]
    assert TrainRecipe.model_validate(tree) == recipe


def test_settings_that_contradict_a_method(tmp_path: Path) -> None:
    assert "init pissa takes whole matrices apart" in complaint(tmp_path, TRAIN + "method: {name: qlora, init: pissa}\n")
    assert "method.dora: must be True, given False" in complaint(tmp_path, TRAIN + "method: {name: dora, dora: false}\n")


def test_a_budget_is_in_tokens_or_in_epochs(tmp_path: Path) -> None:
    train = load_recipe(written(tmp_path, TRAIN), TrainRecipe, ["train.epochs=3"]).train
    assert train.model_dump().keys() >= {"epochs"}
    assert "train_tokens" not in train.model_dump()
    assert train.tokens(1000) == 3000
    assert train.part(0.5).tokens(1000) == 1500
    assert TrainConfig(train_tokens=800).tokens(1000) == 800
    assert TrainConfig(train_tokens=800).part(0.25).train_tokens == 200
    assert "epochs" not in TrainConfig().model_dump()  # what is not asked for changes no key of an earlier run
    found = complaint(tmp_path, TRAIN, "train.epochs=3", "train.train_tokens=5")
    assert "train_tokens and epochs both say how long is trained" in found
    assert load_recipe(written(tmp_path, TRAIN), TrainRecipe, ["train.epochs=3", "train.train_tokens=null"]).train.epochs == 3


def test_a_models_own_budget_takes_the_place_of_the_studys(tmp_path: Path) -> None:
    study = load_recipe(written(tmp_path, STUDY + "models: [{name: gpt2, train: {epochs: 2}}, b]\nmethods: lora\n"), StudyRecipe)
    gpt2, other = (study.train_of(model) for model in study.models)
    assert (gpt2.epochs, other.epochs) == (2, None)
    study = load_recipe(written(tmp_path, STUDY + "models: [{name: gpt2, train: {train_tokens: 7}}]\nmethods: lora\n"), StudyRecipe)
    assert study.train.changed({"epochs": 4}).changed({"train_tokens": 9}).train_tokens == 9


def test_a_key_of_a_list_is_set_in_every_entry(tmp_path: Path) -> None:
    """`data.root=DIR` is for all data sets of a study; a number means one."""
    text = STUDY + "methods: [{name: full}, {name: lora}]\n"
    recipe = load_recipe(written(tmp_path, text), StudyRecipe, ["methods.learning_rate=0.1", "methods.1.learning_rate=0.2"])
    assert [method.learning_rate for method in recipe.methods] == [0.1, 0.2]
    assert load_recipe(written(tmp_path, text), StudyRecipe, ["data.root=/x"]).data[0].root == Path("/x")
    assert "there is no section to set 'root' in" in complaint(tmp_path, TRAIN, "model.root=3")


def test_data_sets_of_a_study_have_one_root(tmp_path: Path) -> None:
    text = "name: a\nmodels: gpt2\nbenchmarks: conala\ndata: [{source: conala, root: /x}, {source: mbpp, root: /y}]\n"
    with pytest.raises(UserError, match="one root for all data sets"):
        load_recipe(written(tmp_path, text), StudyRecipe)
