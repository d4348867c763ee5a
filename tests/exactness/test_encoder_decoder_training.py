"""The loop on encoder-decoder models: what is said to train trains, a stop costs nothing, losses stay what they were; real tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from codetune.batches import collate, make_rows
from codetune.config import TrainConfig
from codetune.data.encode import encode_pair
from codetune.data.tokenise import TokenisedExamples, join
from codetune.errors import UserError
from codetune.models.families import Marks, family_of
from codetune.models.load import TextTokenizer
from codetune.models.seq2seq import pairs_of, require_pairs, with_marks
from codetune.prompts.template import make_template
from codetune.records import Problem
from codetune.train.loop import train
from codetune.train.monitor import validation_loss
from codetune.train.plan import plan_steps
from codetune.train.run import Material, Run
from tests.exactness.pairs import END, MODELS, PAIR_METHODS, RELATIVES, adapted_tiny
from tests.exactness.test_training import assert_equal_runs, at_step, interrupt, losses, weights
from tests.exactness.tiny import VOCAB

ALL = PAIR_METHODS | RELATIVES
RATES = {"full": 3e-3}


def examples(seed: int, count: int) -> TokenisedExamples:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 16, (count, 2))
    return join([[*rng.integers(3, VOCAB, sum(both)).tolist(), END] for both in lengths.tolist()], lengths[:, 0].tolist())


def make_run(folder: Path, name: str, method: str, dtype: torch.dtype = torch.float32, **config: Any) -> Run:
    """About eight steps to go."""
    settings = {"validations": 0, "checkpoint_every_s": 1e9, "micro_batch_size": 2, "packing": "padded"} | config
    adapted, family = adapted_tiny(name, ALL[method], dtype)
    data, held = examples(1, 30), examples(2, 9)
    rows, held_rows = (make_rows(one, "padded", 40, range(len(one))) for one in (data, held))
    material = Material(data, rows, plan_steps(rows, 8 * 80, 80, seed=0), held, held_rows)
    return Run(adapted, family, material, TrainConfig.model_validate(settings), RATES.get(method, 2e-2), folder)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_said_to_train_trains_and_nothing_else(name: str, method: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, name, method, torch.float64)
    trained, frozen = weights(run), {key: parameter.detach().clone() for key, parameter in run.adapted.frozen().items()}
    before = validation_loss(run)
    train(run)
    for key, parameter in run.adapted.trained().items():
        assert not torch.equal(parameter, trained[key]), f"{key} did not move"
    for key, parameter in run.adapted.frozen().items():
        assert torch.equal(parameter, frozen[key]), f"{key} moved"
    assert bool(frozen) == (method != "full")
    assert validation_loss(run) != before


GOLDEN = {
    "t5 full": [4.38685, 4.604159, 4.303153, 4.457159, 4.712693, 4.587459, 4.151684, 4.074933],
    "t5 lora": [4.313128, 4.545822, 4.245845, 4.368016, 4.436038, 4.449006, 4.207365, 4.056734],
    "t5 gated full": [11.424764, 9.194295, 9.371817, 9.616613, 9.192536, 8.902687, 8.480064, 8.028766],
    "t5 gated lora": [8.947723, 9.569138, 9.524717, 8.957016, 9.342692, 8.43562, 8.258631, 8.032413],
    "plbart full": [4.907624, 5.204821, 4.845596, 4.642455, 4.511563, 4.71356, 4.396827, 4.218576],
    "plbart lora": [5.298064, 5.176297, 5.045141, 5.026378, 4.906913, 5.013588, 4.916655, 4.696625],
}


@pytest.mark.parametrize("method", PAIR_METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_golden_losses(name: str, method: str, tmp_path: Path) -> None:
    """Recorded once from this code, in fp32: a change that means to keep the numbers keeps these."""
    train(make_run(tmp_path, name, method))
    assert [loss for _, loss in losses(tmp_path)] == pytest.approx(GOLDEN[f"{name} {method}"], rel=1e-5)


@pytest.mark.parametrize("name", ["t5", "plbart"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(name: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"validations": 4, "checkpoint_every_s": 1e-9}
    whole = make_run(tmp_path / "whole", name, "lora", **settings)
    wanted = train(whole)
    stopped = make_run(tmp_path / "stopped", name, "lora", **settings)
    stopped.report = at_step(5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    again = make_run(tmp_path / "stopped", name, "lora", **settings)
    assert_equal_runs(again, whole, train(again), wanted)


def test_micro_batches_change_nothing(tmp_path: Path) -> None:
    curves = []
    for size in (1, 9):
        train(make_run(tmp_path / str(size), "plbart", "lora", torch.float64, micro_batch_size=size))
        curves.append([loss for _, loss in losses(tmp_path / str(size))])
    assert curves[0] == pytest.approx(curves[1], rel=1e-10)


def test_what_is_no_pair_is_refused() -> None:
    require_pairs(join([[5, 6, 2], [7, 2]], [2, 1]), "x")
    with pytest.raises(UserError, match="1 of 2 examples of x are not a prompt and its answer"):
        require_pairs(join([[5, 6, 2], [7, 2]], [2, 0]), "x")
    turns = TokenisedExamples(np.array([5, 6, 7, 2], np.int32), np.array([False, True, False, True]), np.array([0, 4]))
    with pytest.raises(UserError, match="1 of 1 examples"):
        require_pairs(turns, "x")
    unanswered = TokenisedExamples(np.array([5, 6], np.int32), np.array([False, False]), np.array([0, 2]))
    with pytest.raises(UserError, match="1 of 1 examples"):
        require_pairs(unanswered, "x")


def codet5(data: Path) -> TextTokenizer:
    folder = data / "codet5_tokenizer"
    vocabulary, merges = (str(folder / name) for name in ("codet5-vocab.json", "codet5-merges.txt"))
    return TextTokenizer(transformers.RobertaTokenizer(vocab=vocabulary, merges=merges))


def test_codet5_reads_and_writes_its_own_marks(data_folder: Path) -> None:
    """<s> prompt </s> for the encoder, as its tokenizer writes a text; <pad> <s> before the answer for the decoder, </s> after it."""
    tokenizer = codet5(data_folder)
    config = transformers.T5Config(decoder_start_token_id=0, bos_token_id=1, eos_token_id=2)
    family = with_marks(family_of(config), config, tokenizer.inner)
    assert family.marks == Marks((2,), (0, 1))
    problem = Problem("a", instruction="Add two numbers.", reference="def add(a, b):\n    return a + b\n")
    rendered = make_template("instruction").render(problem)
    prompt, answer = encode_pair(rendered, tokenizer)
    assert [*prompt, *family.marks.after_prompt] == tokenizer.inner(rendered.prompt).input_ids
    data = join([[*prompt, *answer]], [len(prompt)])
    found = pairs_of(collate(data, [[(0, 0, len(prompt) + len(answer))]], "padded"), family)
    assert found.prompt_ids[0][found.prompt_mask[0]].tolist() == tokenizer.inner(rendered.prompt).input_ids
    assert tokenizer.inner.decode(found.answer_ids[0, : len(answer) + 1].tolist()) == "<pad><s>" + rendered.text[len(rendered.prompt) :]
    assert tokenizer.decode_after(prompt, answer[:-1]) == rendered.text[len(rendered.prompt) :]


class Words:
    """As PLBART's tokenizer does: a text ends with </s> and, with a source language set, its mark."""

    bos_token_id = 0

    def __init__(self, ending: list[int], language: dict[str, int]) -> None:
        self.ending, self.language = ending, language

    def __call__(self, text: str) -> Any:
        return type("Encoding", (), {"input_ids": [9, *self.ending]})

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return [9]

    def get_vocab(self) -> dict[str, int]:
        return self.language


def test_plbart_starts_from_python_where_its_config_names_no_start() -> None:
    config, named = transformers.PLBartConfig(), transformers.PLBartConfig(decoder_start_token_id=50)
    python = Words([2], {"__python__": 50002})
    assert with_marks(family_of(config), config, python).marks == Marks((2,), (50002,))
    assert with_marks(family_of(config), config, Words([2, 50003], {"__python__": 50002})).marks == Marks((2, 50003), (50002,))
    assert with_marks(family_of(named), named, python).marks == Marks((2,), (50,))
    assert with_marks(family_of(config), config, Words([2], {})).marks == Marks((2,), (2,))
