"""Devices and what they compute in: asked for by name, and never taken for granted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from codetune.config import TrainConfig, TrainRecipe
from codetune.errors import UserError
from codetune.models import machine
from codetune.models.machine import available_devices, computed_in, computes_in_bf16, device, peak_memory_bytes, settled_precision
from codetune.train.precision import on_this_machine, slow_here

X86 = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu sse2 avx512f {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str, *, cuda: int | None = None, mps: bool = False) -> None:
    """A machine with this /proc/cpuinfo, a GPU of this compute capability or none, Metal or none."""
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(machine, "Path", lambda name: tmp_path / "cpuinfo" if name == "/proc/cpuinfo" else Path(name))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (cuda, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"), [(None, False, "cpu"), (None, True, "mps"), (8, False, "cuda"), (8, True, "cuda")]
)
def test_auto_takes_the_fastest(cuda: int | None, mps: bool, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on(monkeypatch, tmp_path, "", cuda=cuda, mps=mps)
    assert device() == device("auto") == wanted
    assert device("cpu") == "cpu"


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on(monkeypatch, tmp_path, "", mps=True)
    with pytest.raises(UserError, match=r"^device 'cuda' is not on this machine, which has mps and cpu: choose one of these, or auto$"):
        device("cuda")


@pytest.mark.parametrize(
    ("cpuinfo", "wanted"),
    [
        (X86.format("avx512_bf16"), True), (X86.format("amx_bf16 amx_tile"), True), (X86.format("avx512_vnni"), False),
        (ARM.format("bf16 i8mm"), True), (ARM.format("i8mm"), False), ("", False),
    ],
)  # fmt: skip
def test_cpus_say_themselves_whether_they_compute_in_bf16(
    cpuinfo: str, wanted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on(monkeypatch, tmp_path, cpuinfo)
    assert computes_in_bf16("cpu") == wanted
    assert settled_precision("auto", "cpu") == ("bf16" if wanted else "fp32")
    assert settled_precision("bf16_weights", "cpu") == "bf16_weights"


@pytest.mark.parametrize(("capability", "wanted"), [(7, "fp32"), (8, "bf16"), (9, "bf16")])
def test_gpus_compute_in_bf16_from_capability_8(capability: int, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on(monkeypatch, tmp_path, "", cuda=capability)
    assert settled_precision("auto", "cuda") == wanted


def recipe(precision: str) -> TrainRecipe:
    train = TrainConfig.model_validate({"precision": precision})
    return TrainRecipe.model_validate({"name": "x", "model": "codetune-base", "data": {"source": "basics"}, "train": train})


def test_a_settled_recipe_says_what_it_is_and_stays_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on(monkeypatch, tmp_path, X86.format("avx512_bf16"))
    found = on_this_machine(recipe("auto"))
    assert (found.device, found.train.precision) == ("cpu", "bf16")
    on(monkeypatch, tmp_path, "")
    assert on_this_machine(found) == found


def test_bf16_that_must_be_imitated_runs_and_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on(monkeypatch, tmp_path, "")
    for precision in ("bf16", "bf16_weights"):
        assert slow_here(on_this_machine(recipe(precision))).startswith("this machine's cpu does not compute in bf16 itself")
    assert slow_here(on_this_machine(recipe("fp32"))) == slow_here(on_this_machine(recipe("auto"))) == ""
    on(monkeypatch, tmp_path, X86.format("amx_bf16"))
    assert slow_here(on_this_machine(recipe("bf16"))) == ""


def test_the_machine_as_it_is() -> None:
    assert available_devices()[-1] == "cpu"
    assert peak_memory_bytes("cpu") > 50e6
    assert machine.hardware()["cores"] >= 1


def test_a_model_says_what_it_computes_in() -> None:
    layer = torch.nn.Linear(2, 2)
    assert computed_in(layer) == "fp32"
    assert computed_in(layer.to(torch.bfloat16)) == "bf16"


HEIR = """
from codetune.models.machine import resident_peak_bytes, resource
print(resident_peak_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
RICH = """
import subprocess, sys
held = bytearray(b"x") * (1 << 30)
subprocess.run([sys.executable, "-W", "ignore", "-c", sys.argv[1]], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_peak_is_the_processs_own() -> None:
    """Not that of the process which started it: `ru_maxrss` would say so."""
    done = subprocess.run([sys.executable, "-c", RICH, HEIR], check=True, capture_output=True, text=True, timeout=120)
    peak, inherited = map(int, done.stdout.split())
    assert peak < 1 << 30 <= inherited
