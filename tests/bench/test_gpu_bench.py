"""The benchmark of a GPU at toy size on a CPU: its parts, the losses on both sides, what is refused, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.gpu_profile import covered, kind_of
from bench.gpu_speed import CASES, COMPILED, SYSTEMS, parts_of, report, rows
from tests.forked import Forked, bench

ONLY = "rates,cap 1x64 checkpointing,speed gpt2-lora codetune,profile gpt2-lora"
COMMAND = [sys.executable, "-m", "bench", "gpu", "--tiny", "--only", ONLY]
NAMES = [
    "matrix and copy rates", "tiny codellama-7b lora bf16 checkpointing offloaded of 8 GB 1x64",
    "tiny codellama-7b lora bf16 checkpointing 1x64", "gpt2-lora codetune", "gpt2-lora codetune plain", "profile gpt2-lora",
]  # fmt: skip


@pytest.mark.slow
def test_all_kinds_of_parts_run_at_toy_size_through_a_kill(tmp_path: Path) -> None:
    out, environment = tmp_path / "gpu.json", os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*COMMAND, "--out", str(out)], stderr=subprocess.DEVNULL, env=environment) as process:
        until = time.monotonic() + 120
        while not out.exists() or len(json.loads(out.read_text())["parts"]) < 2:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = json.loads(out.read_text())["parts"]
    assert list(before) == NAMES[: len(before)]
    done = subprocess.run([*COMMAND, "--out", str(out)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert list(record["parts"]) == NAMES
    assert not [name for name, kept in record["parts"].items() if "failed" in kept]
    assert {name: record["parts"][name] for name in before} == before
    fast, plain = (record["parts"][name]["measured"]["losses"] for name in NAMES[3:5])
    assert fast == pytest.approx(plain, abs=0.01)
    assert "Profile of gpt2-lora" in done.stdout
    assert "| gpt2-lora | codetune |" in done.stdout


def test_what_cannot_be_measured_here_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = Forked(bench, "gpu", "--only", "rates", "--out", str(tmp_path / "x.json")).ended()
    assert (done.returncode, done.stderr.splitlines()[-1][:22]) == (2, "error: no GPU here: ru")
    done = Forked(bench, "gpu", "--tiny", "--keep").ended()
    assert (done.returncode, done.stderr) == (2, "error: --tiny --keep: nothing of tiny models is a result; leave one out\n")
    done = Forked(bench, "gpu", "--peers", "/nowhere/python").ended()
    assert (done.returncode, done.stderr) == (2, "error: --peers /nowhere/python: no Python that has trl and datasets\n")
    assert not list(tmp_path.iterdir())


def test_what_answers_goals_comes_first_and_losses_that_differ_give_no_ratio() -> None:
    names = [part.name for part in parts_of("cuda", tiny=True)]
    assert names[:2] == ["7b-lora codetune", "7b-lora TRL"]
    assert len(set(names)) == len(names) == sum(len(case.systems) for case in CASES)
    assert {name.split(" ", 1)[1] for name in names[-6:]} <= set(SYSTEMS[2:] + COMPILED)
    assert len(names) - len(parts_of("cpu", tiny=True)) == 2, "CUDA graphs are for a GPU"

    def measured(loss: float, seconds: float) -> dict[str, object]:
        found = {"tokens": 1000, "seconds": seconds, "losses": [loss], "matrix_rate": 1e12, "peak_memory_bytes": 10**9}
        return {"group": "speed", "measured": found}

    record = {"tiny": True, "parts": {"7b-lora codetune": measured(6.0, 1.0), "7b-lora TRL": measured(6.01, 2.0)}}
    against, share = rows(record)
    assert (against["goal"], against["ratio"], share["goal"]) == ("G4", 2.0, "G5")
    record["parts"]["7b-lora TRL"] = measured(6.1, 2.0)  # type: ignore[index]
    assert (rows(record)[0]["ratio"], rows(record)[0]["same"][:17]) == (None, "no: first losses ")
    assert report(record).splitlines()[-1].endswith("| 1.00 | 6.1000 | 0.1000 |")


def test_kernels_are_told_apart_and_gaps_are_what_no_kernel_covers() -> None:
    kernels = {
        "nvjet_hsh_128x256_64x4_coopA_NTN": "matrix products", "void pytorch_flash::flash_fwd_kernel<...>": "attention",
        "multi_tensor_apply_kernel<FusedAdamMathFunctor>": "optimiser", "Memcpy HtoD (Pinned -> Device)": "copies",
        "vectorized_elementwise_kernel": "elementwise and the rest",
    }  # fmt: skip
    assert {name: kind_of(name) for name in kernels} == kernels
    assert covered([(5, 6), (0, 2), (1, 3)]) == 4
