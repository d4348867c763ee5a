"""The memory benchmark on tiny models: every part is measured beside its forecast, kept, and not measured again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.memory import PUBLISHED_GB, published_gb, report
from bench.memory_error import compare
from bench.memory_page import smallest
from bench.memory_parts import METHODS, MemoryPart, default, forecast_of, least
from bench.memory_table import capped_parts, figures, first, forecasts, peers, resident, rest, rows, streamed
from bench.memory_table import report as table
from codetune.config import METHOD_NAMES
from codetune.models.families import family_of
from codetune.models.outline import without_data
from tests.forked import Forked, bench


def of_memory(*arguments: str) -> subprocess.CompletedProcess[str]:
    return Forked(bench, "memory", *arguments).ended(300)


@pytest.mark.slow
def test_parts_are_measured_kept_and_not_measured_again(tmp_path: Path) -> None:
    arguments = ("--tiny", "--models", "falcon-7b", "--only", "lora fp32,bitfit fp32", "--tokens", "64")
    out = tmp_path / "memory.json"
    first = of_memory(*arguments, "--out", str(out))
    assert first.returncode == 0, first.stderr
    kept = out.read_text()
    parts = json.loads(kept)["parts"]
    names = ["tiny falcon-7b lora fp32 2x64", "tiny falcon-7b bitfit fp32 2x64"]
    assert list(parts) == [name for each in names for name in (f"forecast {each}", each)]
    assert forecast_of({"parts": parts}, names[0]) == parts[f"forecast {names[0]}"]["measured"]["training"] > 0
    assert parts[names[0]]["measured"]["cpu_seconds"] > 0
    assert "linear layers have none" in parts[names[1]]["failed"]
    again = of_memory(*arguments, "--out", str(out))
    assert (again.stdout, out.read_text()) == (first.stdout, kept)


def test_options_that_cannot_work_are_one_line(tmp_path: Path) -> None:
    done = of_memory("--only", "lorra")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --only lorra: no part has this word: did you mean 'lora'?")
    done = of_memory("--models", "gpt3", "--tiny", "--only", "lora", "--out", str(tmp_path / "x.json"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: no shape of 'gpt3' here")


@pytest.mark.parametrize("model", ["gpt2", "gpt2-xl", "falcon-7b", "mistral-7b", "codellama-7b", "llama-109m"])
def test_tiny_models_are_of_the_family_of_the_large(model: str) -> None:
    tiny, large = (MemoryPart(model, "lora", "bf16", 1, 1024, tiny=small).config() for small in (True, False))
    assert family_of(tiny).model_type == family_of(large).model_type
    assert without_data(tiny).num_parameters() < 300_000


def test_soft_prompts_leave_room_for_themselves() -> None:
    assert MemoryPart("gpt2", "prompt_tuning", "bf16", 1, 1024).trained_as()[2] == 1004
    assert MemoryPart("codellama-7b", "prompt_tuning", "bf16", 1, 1024).trained_as()[2] == 1024


def test_the_published_table_is_measured_as_codetune_is_with_the_least_memory_and_beside_trl() -> None:
    assert sorted(METHODS) == sorted(METHOD_NAMES)
    shape = ("codellama-7b", "lora", 1, 1024, False)
    assert least(*shape).trained_as()[1].offload_frozen_weights
    parts = [*first("cpu", False), *capped_parts("cpu", False), *rest("cpu", False)]
    assert len({part.name for part in parts}) == len(parts) == 28 * 4 + 9 * 2 + 7
    assert parts[0].name == "gpt2 full bf16 1x1024"
    assert parts[28].name == "gpt2 full bf16_weights adamw_8bit checkpointing in_backward 1x1024"
    assert [part.host for part in parts].index("peers") == 56
    named = {part.name for part in parts if part.on_device and part.host == "ours"}
    assert {part.name for part in forecasts(False)} == {f"forecast {name}" for name in named}


def record_of(**parts: dict[str, Any]) -> dict[str, Any]:
    """A record of parts by name, each with the peak in GB or why it failed."""
    machine = {"cpu": "P", "gpu": "none"}
    return {"device": "CPU", "tiny": False, "machine": machine, "versions": {"torch": "2", "transformers": "5"}, "parts": parts}


def kept(one: Any, peak: float | str, seconds: float = 0.5) -> dict[str, Any]:
    about = {"model": one.model, "method": one.method, "settings": one.settings, "rows": one.rows, "tokens": one.tokens, "tiny": False}
    about |= {"group": "memory", "in_backward": getattr(one, "in_backward", False)}
    if isinstance(peak, str):
        return about | {"failed": peak}
    size = int(peak * 1e9)
    measured = {"peak": size, "reserved": 0, "before": 0, "loaded": size // 4, "held_after_step": size // 2, "held_after_pass": size // 2}
    return about | {"measured": measured | {"tokens": 1024 * one.rows, "seconds": seconds, "cpu_seconds": 2 * seconds}}


def forecast(training: float) -> dict[str, Any]:
    parts = dict.fromkeys(("process", "kernels", "logits", "temporary"), 0) | {"optimiser": 10**9, "activations": 10**9}
    sizes = {"training": int(training * 1e9), "reloading": 10**9, "loading": 10**9}
    return {"group": "forecast", "measured": parts | sizes}


def test_goals_of_memory_and_the_table_say_what_was_measured_and_what_failed() -> None:
    shape = ("codellama-7b", "lora", 1, 1024, False)
    ours, theirs, way = default(*shape), peers(*shape), streamed(4, False)
    found = [(theirs[0], kept(theirs[0], "no room")), (theirs[3], kept(theirs[3], 8.0)), (theirs[2], kept(theirs[2], 4.0))]
    found += [(ours, kept(ours, 4.0)), (way, kept(way, 2.0, 2.2)), (resident(4, False), kept(resident(4, False), 3.0, 2.0))]
    record = record_of(**{one.name: each for one, each in found}, **{f"forecast {ours.name}": forecast(3.0)})
    assert "| codellama-7b | lora | 3.00 | 4.00 | - | - | failed | - | 4.00 | 8.00 | 37.33 |" in table(record)
    ratios = {(row["goal"], row["against"]): row["ratio"] for row in rows(record)}
    assert ratios == {
        ("G6", "TRL, weights in bf16"): 1.0, ("G6", "TRL, weights in bf16, no checkpointing"): 0.5,
        ("G7", "codetune, weights on the device"): pytest.approx(2.0 / 2.2),
    }  # fmt: skip
    (figure,) = figures(record)
    assert figure["bars"] == [
        {"model": "codellama-7b", "method": "lora",
         "gb": {"codetune": 4.0, "TRL": 4.0, "TRL, no checkpointing": 8.0, "forecast": 3.0, "published": 37.33}}
    ]  # fmt: skip
    assert (rows(record_of()), figures(record_of()), table(record_of())) == ([], [], "")


def test_the_error_of_a_forecast_is_told_by_component() -> None:
    ours = default("gpt2", "lora", 1, 1024, False)
    (found,) = compare(record_of(**{ours.name: kept(ours, 4.0), f"forecast {ours.name}": forecast(3.0)}))
    assert found["ratio"] == 0.75
    assert found["off"] == {"weights": 0, "optimiser": 0, "gradients": 0, "pass": -(10**9)}


def test_the_table_of_a_cpu_says_what_failed() -> None:
    one, other = default("gpt2", "lora", 1, 1024, False), least("gpt2", "lora", 1, 1024, False)
    record = record_of(**{one.name: kept(one, 2.0), f"forecast {one.name}": forecast(1.0), other.name: kept(other, "no room")})
    assert report(record, [one.name, other.name]).splitlines()[-2:] == [
        "| gpt2 | lora | bf16 | 1 x 1024 | 1.00 | 2.00 | 0.500 | 1,024 | 2,048 |",
        "| gpt2 | lora | bf16 checkpointing offloaded | 1 x 1024 | - | no room | - | - | - |",
    ]
    assert (published_gb("mistral-7b", "prefix_tuning"), published_gb("falcon-7b", "full")) == ("-", "-")
    assert set(PUBLISHED_GB) >= {"gpt2-xl", "codellama-7b"}


def test_the_smallest_gpu_that_holds_it() -> None:
    assert [smallest(size) for size in (23.0, 23.5, 140.0, 141.0)] == ["24", "48", "141", "none"]
