"""The loop by hand that codetune is compared with trains as codetune does: else its speed would say nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from bench import ours, peer_autocast
from bench.job import Job
from bench.material import attach_method
from bench.step import AUTOCAST, OURS
from codetune.data.base_corpus import save_tokenizer, train_tokenizer
from codetune.data.corpus import Corpus
from codetune.models.load import load_model


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """Three steps of three texts of different length, in fp32, with prompts that carry no loss: by method."""
    folder = tmp_path_factory.mktemp("peer")
    save_tokenizer(train_tokenizer(Corpus(pairs=["a = 1", "def f(x): return x"]), 300, 0), folder / "model")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, vocab_size=300, n_positions=64, bos_token_id=0, eos_token_id=0, resid_pdrop=0, embd_pdrop=0,
        attn_pdrop=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    attach_method(load_model(str(folder / "model")), "lora", [2]).save(folder / "lora")
    draw = torch.Generator().manual_seed(1)
    ids = [torch.randint(2, 300, (length,), generator=draw).tolist() for length in (9, 4, 12, 7, 7, 3, 11, 2, 8)]
    lora = Job(
        system=OURS, method="lora", model=str(folder / "model"), adapter=str(folder / "lora"), start_ids=[2], ids=ids,
        prompt_lengths=[1, 2, 3, 0, 1, 1, 5, 1, 2], examples_per_step=3, learning_rate=5e-2, row_tokens=16, rows_per_pass=2,
        examples_per_pass=2, scratch=str(folder),
    )  # fmt: skip
    return {"lora": lora, "full": replace(lora, method="full", adapter=None, learning_rate=1e-2)}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_loop_by_hand_sees_the_same_text_and_has_the_same_losses(jobs: dict[str, Job], method: str, tmp_path: Path) -> None:
    job = replace(jobs[method], scratch=str(tmp_path), system=replace(OURS, precision="fp32"))
    mine = ours.measure(job)
    theirs = peer_autocast.measure(replace(job, system=replace(AUTOCAST, precision="fp32")))
    assert theirs.tokens_seen == mine.tokens_seen == job.tokens
    assert theirs.losses == pytest.approx(mine.losses, rel=2e-5)
    assert abs(mine.losses[2] - mine.losses[0]) > 1e-3  # weights have moved


def test_the_losses_would_show_another_rate(jobs: dict[str, Job], tmp_path: Path) -> None:
    job = replace(jobs["full"], scratch=str(tmp_path), system=replace(AUTOCAST, precision="fp32"))
    first, other = peer_autocast.measure(job), peer_autocast.measure(replace(job, learning_rate=2e-2))
    assert first.losses[0] == other.losses[0]
    assert abs(first.losses[2] / other.losses[2] - 1) > 1e-3
