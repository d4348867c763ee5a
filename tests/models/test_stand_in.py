"""Stand-ins have their family's ways at a size of nothing, come out the same each time, and are made for absent models alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetune.models.load import load_model
from codetune.models.names import ALIASES
from codetune.models.published import SHAPES
from codetune.models.stages import model_files_hash
from codetune.models.stand_in import make_stand_ins, shrunk

TEXTS = ["def add(a, b):\n    return a + b", "Sort the list `items` by its second value.", "print('naïve')"]


FAMILIES = ("gpt2", "codegpt", "falcon-7b", "mistral-7b", "codellama-34b", "codegen-350m", "codet5-small", "plbart-base")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_stand_in_is_loaded_as_its_model_would_be(tmp_path: Path, name: str) -> None:
    made = make_stand_ins([name], TEXTS, tmp_path)
    loaded = load_model(made[name])
    assert loaded.family.model_type == SHAPES[name]["model_type"]
    assert loaded.model.num_parameters() < 2_000_000
    tokenizer = loaded.tokenizer
    text = "return naïve + b"
    assert tokenizer.decode_after([], tokenizer.encode(text, with_bos=False)) == text
    assert max(tokenizer.vocabulary.values()) < loaded.family.vocab_size
    starts_with_bos = SHAPES[name]["model_type"] in ("llama", "mistral", "t5", "plbart")
    assert (tokenizer.bos_id is not None) == starts_with_bos
    assert tokenizer.eos_id in loaded.stop_ids
    assert tokenizer.eos_token == ("<|endoftext|>" if name in ("gpt2", "falcon-7b", "codegen-350m") else "</s>")


def test_the_same_texts_make_the_same_files(tmp_path: Path) -> None:
    one, two = (make_stand_ins(["gpt2"], TEXTS, tmp_path / folder)["gpt2"] for folder in ("one", "two"))
    other = make_stand_ins(["gpt2"], [*TEXTS, "another text"], tmp_path / "three")["gpt2"]
    assert model_files_hash(Path(one)) == model_files_hash(Path(two)) != model_files_hash(Path(other))
    before = (Path(one) / "model.safetensors").stat().st_mtime_ns
    make_stand_ins(["gpt2"], TEXTS, tmp_path / "one")
    assert (Path(one) / "model.safetensors").stat().st_mtime_ns == before


def test_models_that_are_here_get_none(tmp_path: Path) -> None:
    assert make_stand_ins(["codetune-base", str(tmp_path), "no-such-model"], TEXTS, tmp_path) == {}
    assert set(make_stand_ins([ALIASES["gpt2"]], TEXTS, tmp_path)) == {"openai-community/gpt2"}


def test_every_published_shape_shrinks_and_keeps_its_ways() -> None:
    small = {name: shrunk(shape, 1000) for name, shape in SHAPES.items()}
    for name, shape in small.items():
        assert shape.keys() == SHAPES[name].keys()
        width = next(shape[key] for key in ("n_embd", "hidden_size", "d_model") if key in shape)
        assert width in (64, 96, 128)
    assert small["codellama-34b"]["num_key_value_heads"] == 1  # of four heads: grouped, as 8 of 64 are
    assert small["codellama-7b"]["num_key_value_heads"] == 4
    assert small["mistral-7b"]["sliding_window"] == 4096
    assert small["falcon-7b"]["multi_query"]
    sizes = [(small[name]["n_embd"], small[name]["n_layer"]) for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")]
    assert sizes == sorted(set(sizes))
