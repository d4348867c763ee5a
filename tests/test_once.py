"""What is worked out once where results are kept, and every time where they are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from codetune.data.files import DATA_VARIABLE
from codetune.models.load import forget_models, keep_model, load_model
from codetune.models.names import SHIPPED
from codetune.once import forget_results, keep_results, once


@pytest.fixture
def keeping() -> Iterator[None]:
    keep_results()
    yield
    forget_results()


class Counted:
    def __init__(self) -> None:
        self.made = 0
        self.asked = once(worth=lambda text: len(text) < 6)(self.make)

    def make(self, text: str, times: int = 1) -> str:
        self.made += 1
        return text * times


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    counted = Counted()
    assert [counted.asked("a"), counted.asked("a")] == ["a", "a"]
    assert counted.made == 2


@pytest.mark.usefixtures("keeping")
def test_the_same_question_is_answered_once_and_another_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    assert [counted.asked("a"), counted.asked("a"), counted.asked("a", times=2)] == ["a", "a", "aa"]
    assert counted.made == 2
    monkeypatch.setenv(DATA_VARIABLE, "elsewhere")  # files of the same names are others there
    assert counted.asked("a") == "a"
    assert counted.made == 3
    assert counted.asked("too long") == counted.asked("too long")
    assert counted.made == 5


@pytest.mark.skipif(not SHIPPED["codetune-base"].is_dir(), reason="the shipped model is not in this checkout")
def test_a_kept_model_is_given_once_and_is_the_one_on_disk() -> None:
    def matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
        return [parameter for parameter in model.parameters() if parameter.dim() == 2]

    keep_model("codetune-base")
    try:
        kept, loaded = (load_model("codetune-base", halved=matrices) for _ in range(2))
    finally:
        forget_models()
    assert kept.model is not loaded.model
    assert (kept.model_hash, kept.weights_format, kept.model.config.dtype) == (loaded.model_hash, "fp32", torch.float32)
    ours, theirs = (list(each.model.named_parameters()) + list(each.model.named_buffers()) for each in (kept, loaded))
    assert [(name, each.dtype) for name, each in ours] == [(name, each.dtype) for name, each in theirs]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(ours, theirs, strict=True))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak so")
def test_pages_of_libraries_that_a_fork_does_not_inherit_count_in_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    from codetune.models import machine

    alone = machine.resident_peak_bytes()
    monkeypatch.setattr(machine, "_LIBRARIES", [10**12])
    assert machine.resident_peak_bytes() > alone + 10**11
