"""The memory benchmark on tiny models: every part is measured beside its forecast, kept, and not measured again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bench.memory import PUBLISHED_GB, published_gb, report
from bench.memory_page import smallest
from bench.memory_parts import METHODS, Part, gpu_parts
from bench.memory_table import capped, goals, side_by_side, table
from codetune.config import METHOD_NAMES
from codetune.models.families import family_of
from codetune.models.outline import without_data
from tests.forked import Forked, bench


def of_memory(*arguments: str) -> subprocess.CompletedProcess[str]:
    return Forked(bench, "memory", *arguments).ended(300)


@pytest.mark.slow
def test_parts_are_measured_kept_and_not_measured_again(tmp_path: Path) -> None:
    arguments = ("--tiny", "--models", "falcon-7b", "--methods", "lora,bitfit", "--precisions", "fp32", "--tokens", "64")
    out = tmp_path / "memory.json"
    first = of_memory(*arguments, "--out", str(out))
    assert first.returncode == 0, first.stderr
    kept = out.read_text()
    parts = json.loads(kept)["parts"]
    assert list(parts) == ["tiny falcon-7b lora fp32 2x64", "tiny falcon-7b bitfit fp32 2x64"]
    lora, bitfit = parts.values()
    assert lora["ratio"] == lora["forecast"] / lora["measured"]["peak"]
    assert lora["measured"]["cpu_seconds"] > 0
    assert "linear layers have none" in bitfit["refused"]
    again = of_memory(*arguments, "--out", str(out))
    assert (again.stdout, out.read_text()) == (first.stdout, kept)


def test_options_that_cannot_work_are_one_line(tmp_path: Path) -> None:
    done = of_memory("--methods", "lorra")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no method 'lorra': did you mean 'lora'?")
    done = of_memory("--models", "gpt3", "--tiny", "--methods", "lora", "--out", str(tmp_path / "x.json"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: no shape of 'gpt3' here")


@pytest.mark.parametrize("model", ["gpt2", "gpt2-xl", "falcon-7b", "mistral-7b", "codellama-7b", "llama-109m"])
def test_tiny_models_are_of_the_family_of_the_large(model: str) -> None:
    tiny, large = (Part(model, "lora", "bf16", 1, 1024, tiny=small).config() for small in (True, False))
    assert family_of(tiny).model_type == family_of(large).model_type
    assert without_data(tiny).num_parameters() < 300_000


def test_soft_prompts_leave_room_for_themselves() -> None:
    assert Part("gpt2", "prompt_tuning", "bf16", 1, 1024).trained_as()[2] == 1004
    assert Part("codellama-7b", "prompt_tuning", "bf16", 1, 1024).trained_as()[2] == 1024


def test_every_method_is_measured_on_a_gpu_as_it_is_and_with_the_least_memory() -> None:
    assert sorted(METHODS) == sorted(METHOD_NAMES)
    keys = [part.key for part in gpu_parts(["gpt2"], METHODS, 1, 1024, tiny=False)]
    assert len(set(keys)) == 2 * len(METHOD_NAMES)
    assert keys[:2] == ["gpt2 full bf16 1x1024", "gpt2 full bf16_weights adamw_8bit checkpointing in_backward 1x1024"]
    assert gpu_parts(["gpt2"], ["lora"], 1, 1024, tiny=False)[1].trained_as()[1].offload_frozen_weights


def test_full_size_parts_are_put_beside_trl_and_what_is_published() -> None:
    """Falcon has no part under the cap; the 7B models have a TRL in bf16, too; what failed or was not measured is said."""
    models, methods = ["gpt2-large", "codellama-7b"], ["lora"]
    parts = [*side_by_side(models, methods, 1, 1024, tiny=False), *capped([*models, "falcon-7b"], 1024, tiny=False)]
    keys = [part.key for part in parts]
    assert len(set(keys)) == len(keys) == 4 + 6 + 7
    assert keys[3] == "gpt2-large lora TRL, no checkpointing 1x1024"
    assert keys[-1] == "codellama-7b lora TRL, weights in bf16, of 8 GB 1x1024"
    measured = {"peak": 4e9, "tokens": 1024, "seconds": 0.5}
    kept = {key: {"measured": measured, "forecast": 3e9} for key in keys if "offloaded" not in key}
    kept["gpt2-large lora TRL 1x1024"] = {"failed": "no room"}
    streamed = "codellama-7b lora bf16 checkpointing offloaded of 8 GB 4x1024"
    kept[streamed] = {"measured": {"peak": 2e9, "tokens": 4096, "seconds": 2.2}, "forecast": 2e9}
    record = {"parts": kept}
    assert table(record, models, methods, 1, 1024, tiny=False).splitlines()[-2:] == [
        "| gpt2-large | lora | 3.00 | 4.00 | - | - | failed | 4.00 | - | - | 29.82 |",
        "| codellama-7b | lora | 3.00 | 4.00 | - | - | 4.00 | 4.00 | 4.00 | 4.00 | 37.33 |",
    ]
    found = {row["what"]: row["ratio"] for row in goals(record, models, 1024, tiny=False) if row["ratio"]}
    assert found["codellama-7b LoRA, one row of 1024"] == 1
    assert found["codellama-7b LoRA, 4096 tokens a pass, bf16 checkpointing offloaded of 8 GB"] == pytest.approx(4096 / 2.2 / 2048)


def test_the_table_says_what_is_published_and_what_failed() -> None:
    part = {"model": "gpt2", "method": "lora", "settings": "bf16", "rows": 1, "tokens": 1024, "tiny": False}
    measured = {"peak": 2e9, "reserved": 3e9, "tokens": 1024, "seconds": 2.0, "cpu_seconds": 4.0}
    parts = {"a": part | {"forecast": 1e9, "measured": measured, "ratio": 0.5}, "b": part | {"forecast": 1e9, "failed": "no room"}}
    record = {"device": "CPU", "machine": {"cpu": "P", "gpu": "none"}, "versions": {"torch": "2", "transformers": "5"}, "parts": parts}
    assert report(record, ["a", "b"]).splitlines()[-2:] == [
        "| gpt2 | lora | bf16 | 1 x 1024 | 1.00 | 2.00 | 3.00 | 0.500 | 6.91 | 256 | 512 |",
        "| gpt2 | lora | bf16 | 1 x 1024 | 1.00 | failed: no room | - | - | 6.91 | - | - |",
    ]
    assert (published_gb("mistral-7b", "prefix_tuning"), published_gb("falcon-7b", "full")) == ("-", "-")
    assert set(PUBLISHED_GB) >= {"gpt2-xl", "codellama-7b"}


def test_the_smallest_gpu_that_holds_it() -> None:
    assert [smallest(size) for size in (23.0, 23.5, 140.0, 141.0)] == ["24", "48", "141", "none"]
