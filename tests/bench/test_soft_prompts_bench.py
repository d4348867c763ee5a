"""The packing study: what each system is told, our arms and their judging on a tiny GPT-2, and what the page says of the records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bench import ours, soft_page
from bench.job import Job
from bench.material import attach_method, random_model
from bench.soft_answers import Written, held_out_loss, judge
from bench.soft_parts import EXACT, METHODS, PACKED, PADDED, SEEING, SYSTEMS, Part, parts, supervised_tokens
from codetune.config import DecodingConfig
from codetune.data.benchmarks import load
from codetune.data.tokenise import join
from codetune.errors import UserError
from codetune.generate.request import Request
from codetune.methods import load_adapter
from codetune.models.load import load_model
from codetune.score.verdicts import open_checker


def job(**changed: Any) -> Job:
    ids = [[3 + (step * 7 + at) % 50 for at in range(length)] for step, length in enumerate((9, 6, 5, 8, 7, 4))]
    told = Job(
        system=EXACT, method="prompt_tuning", model="m", adapter=None, start_ids=[5, 6, 7], ids=ids, prompt_lengths=[3] * 6,
        examples_per_step=3, learning_rate=1e-2, row_tokens=10, rows_per_pass=2, examples_per_pass=3, scratch="s",
    )  # fmt: skip
    return dataclasses.replace(told, **changed)


def test_every_system_has_every_method_and_seed_and_they_take_turns() -> None:
    planned = parts(2, ours_alone=False)
    assert len({part.key for part in planned}) == len(METHODS) * len(SYSTEMS) * 2
    assert [part.system for part in planned[: len(SYSTEMS)]] == list(SYSTEMS)
    assert {part.system for part in parts(1, ours_alone=True)} == {EXACT, SEEING}


def test_rows_cut_from_a_stream_lose_the_labels_that_begin_a_row() -> None:
    exact = job()
    assert supervised_tokens(exact) == 39 - 6 * 3
    # The first step's stream is 9, 6 and 5 tokens: its second row begins with the second example's second token, in its prompt.
    # The second step's is 8, 7 and 4: its second row begins with the third token of 7, in the prompt, too.
    stream = job(system=SEEING)
    assert supervised_tokens(stream) == 39 - 6 * 3
    assert supervised_tokens(dataclasses.replace(stream, prompt_lengths=[1] * 6)) == 39 - 6 - 2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=300, n_positions=1024, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, pad_token_id=1
    )
    random_model(config, folder, 300)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_our_arms_train_from_one_start_and_are_judged_alike(base: Path, tmp_path: Path, method: str) -> None:
    start = tmp_path / "start"
    attach_method(load_model(str(base)), method, [5, 6, 7]).save(start)
    found = {}
    for system in (EXACT, SEEING):
        (tmp_path / system.name).mkdir()
        told = job(
            system=system, method=method, model=str(base), adapter=str(start), scratch=str(tmp_path / system.name),
            keep=str(tmp_path / system.name / "kept"),
        )  # fmt: skip
        found[system] = ours.measure(told)
        assert len(found[system].cpu_at) == len(found[system].losses) == 2
        assert found[system].cpu_at[0] == 0 < found[system].cpu_at[1]
    assert found[EXACT].losses[0] != pytest.approx(found[SEEING].losses[0], rel=1e-6)
    held, loaded = join(job().ids, [3] * 6), load_model(str(base))
    adapter = load_adapter(loaded.model, Path(tmp_path / EXACT.name / "kept"))
    packed, alone = (held_out_loss(adapter, loaded, held, tokens) for tokens in (30, 9))
    assert packed == pytest.approx(alone, rel=1e-5)
    whole = load("basics-known")
    benchmark = dataclasses.replace(whole, problems=whole.problems[:2])
    decoding = DecodingConfig(max_new_tokens=3, batch_size=2)
    by_peft = {"ids": [[40, 0], [41]], "cpu_seconds": 1.0}
    with open_checker() as sandbox:
        judged = judge(base, tmp_path / EXACT.name / "kept", held, benchmark, decoding, by_peft, sandbox, 30)
    assert judged["held_out_loss"] == pytest.approx(packed, rel=1e-5)
    assert judged["own"]["pass"] == judged["peft"]["pass"] == 0
    assert judged["peft"]["finish"] == {"eos": 1, "length": 1}


def test_answers_that_are_there_are_read_like_our_own(base: Path) -> None:
    loaded = load_model(str(base))
    prompt, text = "Write it.", " x = 1\n### more"
    ids = [*loaded.tokenizer.encode_continuation(text), loaded.tokenizer.eos_id]
    made = Written(loaded, [ids]).generate([Request("a", prompt, stop=("\n### ",))], DecodingConfig())
    assert [(one.text, one.finish, one.num_tokens) for one in made] == [(" x = 1", "eos", len(ids))]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        Written(loaded, []).generate([Request("a", prompt)], DecodingConfig())


def record() -> dict[str, Any]:
    """What a whole study keeps, with made-up figures."""
    runs, answers = {}, {}
    for part in parts(2, ours_alone=False):
        slow, off = (2.0 if part.system is PADDED else 1.0), (0.5 if part.system in (PACKED, SEEING) else 0.0)
        losses = [3.0 + off, 2.0 + off + (1e-6 if part.system is PADDED else 0)]
        runs[part.key] = dataclasses.asdict(part) | {
            "load": 1.0, "losses": losses, "cpu_at": [0.0, slow], "cpu_seconds": slow, "timed_tokens": 1000, "supervised_tokens": 40,
        }  # fmt: skip
        scores = {"bleu": 0.25, "syntax_valid": 0.5, "pass": 0.1 * (1 + part.seed)}
        answers[part.key] = {"held_out_loss": 1.5 + off, "own": scores, "peft": scores | {"pass": 0.0}, "same_answers": 0.5}
    refused = Part("prompt_tuning", PACKED, 0)
    base = {"parameters": 1e6, "positions": 512, "width": 8, "layers": 2, "heads": 2, "vocabulary": 1024, "tokens": 1000}
    return {
        "machine": {"processor": "P", "cores": 2}, "versions": {"codetune": {"torch": "2"}, "peers": {"trl": "1"}},
        "base": base | {"styles": ["docstring"], "first_loss": 7.0, "last_loss": 2.0},
        "settings": {
            "steps": 2, "problems": 10, "benchmark": "basics-known", "pairs_per_step": 32, "learning_rates": {"prompt_tuning": 0.01},
            "virtual_tokens": 20, "row_tokens": 492, "held_out": 100,
        },
        "attempts": {
            refused.key: {"method": "prompt_tuning", "system": {"name": "packing"}, "batch": 8, "failed": "IndexError: out of range"},
        },
        "runs": runs, "answers": answers,
    }  # fmt: skip


def test_the_page_says_what_the_records_say() -> None:
    page = soft_page.page(record())
    assert "| prompt_tuning | packing | 8 | **IndexError: out of range** |" in page
    assert f"| {EXACT.name} | 2.500 (2.500, 2.500) | 1.5000 (1.5000, 1.5000) | 1.0 (1.0, 1.0) | 1,000 (1,000, 1,000) | 40 |" in page
    assert f"| {EXACT.name} | 15.0 (10.0, 20.0) | 25.0 (25.0, 25.0) | 50.0 (50.0, 50.0) | 0.0 (0.0, 0.0) |" in page
    assert "agrees to 5.0e-07 relatively over all 2 steps and 2 seeds" in page
    same = "held-out loss +0.0000 against packed exactly; codetune packed exactly learns from 2.00 times"
    assert f"- Prompt-tuning, {PADDED.name}: {same}" in page
    assert f"- Prefix-tuning, {SEEING.name}: held-out loss +0.5000" in page


def test_a_training_that_failed_is_a_row_and_no_comparison() -> None:
    kept = record()
    for part in parts(2, ours_alone=False):
        if part.system is PACKED:
            kept["runs"][part.key] = dataclasses.asdict(part) | {"load": 1.0, "failed": "RuntimeError: sizes"}
            del kept["answers"][part.key]
    page = soft_page.page(kept)
    assert f"| {PACKED.name} | failed: RuntimeError: sizes | - | - | - | - |" in page
    assert f"- Prompt-tuning, {PACKED.name}: no training to compare." in page


def test_page_figure_and_results_are_written_of_a_whole_study_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_page, "STUDIES", tmp_path / "studies")
    with pytest.raises(UserError, match="run `python -m bench soft-prompts` first"):
        soft_page.write(tmp_path / "results.json")
    kept = record()
    (tmp_path / "results.json").write_text(json.dumps(kept))
    soft_page.write(tmp_path / "results.json")
    assert sorted(path.name for path in (tmp_path / "studies").iterdir()) == ["packing.json", "packing.md", "packing.png", "packing.svg"]
    del kept["runs"][Part("prefix_tuning", PACKED, 0).key], kept["runs"][Part("prefix_tuning", PACKED, 1).key]
    (tmp_path / "results.json").write_text(json.dumps(kept))
    with pytest.raises(UserError, match=f"no prefix_tuning by {PACKED.name}"):
        soft_page.write(tmp_path / "results.json")
