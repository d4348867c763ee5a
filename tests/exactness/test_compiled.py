"""`train.compile` changes no number but by rounding, makes few graphs wherever documents fall, and is refused in a line where it fails."""

from __future__ import annotations

import copy
import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from codetune.batches import Batch, collate
from codetune.config import TrainConfig
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models import compiled
from codetune.models.compiled import CompiledLayer, compile_layers, missing_compiler
from codetune.models.families import Family
from codetune.models.fast.model import speed_up
from codetune.models.forward import summed_loss
from codetune.probe.subject import texts
from codetune.train.loop import train
from codetune.train.ready import make_ready, refuse_to_compile
from tests.exactness.test_fast import furthest, gradients
from tests.exactness.test_training import losses, make_run, weights
from tests.exactness.tiny import KINDS, PAIRS, TOLERANCE, adapted_tiny, config_of

DATA = texts()
PACKED = [  # documents of rows of batches: the second has another number of rows, documents and tokens than the first
    [[5, 0], [2, 3, 1]], [[5, 1, 3, 2, 6], [1, 5, 3, 2, 0], [3, 2]], [[0, 5, 2], [1, 4, 3], [3, 2]], [[4, 3, 2], [1, 5], [5, 6], [0, 1, 1]],
]  # fmt: skip
SLOW = pytest.mark.slow
MORE = [("gpt2", "lora"), ("gpt2", "prefix_tuning"), ("llama", "lora"), ("llama", "prompt_tuning")]
SHORT = [("gpt2", "full"), *(pytest.param(*pair, marks=SLOW) for pair in MORE)]
RUNS = [{"activation_checkpointing": True, "optimizer_in_backward": True, "micro_batch_size": 8}, pytest.param({}, marks=SLOW)]


@pytest.fixture(autouse=True)
def no_trace_for_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch writes a debug log of each guard, which pytest would keep."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)


def batches(chosen: list[list[list[int]]]) -> list[Batch]:
    return [collate(DATA, [[(one, 0, int(DATA.lengths[one])) for one in row] for row in rows], "exact") for rows in chosen]


def held_to_the_plain_ones(family: str, method: str, backend: str) -> list[int]:
    """Of batches by turns; returns how many graphs there were after each."""
    counter = CompileCounterWithBackend(backend)
    adapted, facts = adapted_tiny(family, method)
    given = batches(PACKED)
    plain = [gradients(adapted, facts, batch) for batch in given]
    speed_up(adapted.model, "cpu", compiled=True)
    compile_layers(adapted.model, graphs=False, backend=counter)
    graphs = []
    for batch, (loss, wanted) in zip(given, plain, strict=True):
        got, found = gradients(adapted, facts, batch)
        graphs.append(counter.frame_count)
        assert got == pytest.approx(loss, rel=TOLERANCE[family])
        assert furthest(found, wanted) < 30 * TOLERANCE[family]
    return graphs


@pytest.mark.parametrize(("family", "method"), SHORT)
def test_loss_and_gradients_are_the_same_and_graphs_are_few(family: str, method: str) -> None:
    graphs = held_to_the_plain_ones(family, method, "eager")
    assert 0 < graphs[0] <= 2, "one graph for all layers, another for a first layer whose input needs no gradient"
    assert graphs[-1] == graphs[1] <= 4, "shapes became variables with the second batch"


@SLOW
@pytest.mark.parametrize(("family", "method"), [pair for pair in PAIRS if pair[1] != "dora" and (pair[0] == "gpt2" or pair[1] in KINDS)])
def test_every_method_through_autograd(family: str, method: str) -> None:
    """Joint graphs of forward and backward pass, cut in two as a compiler has them."""
    graphs = held_to_the_plain_ones(family, method, "aot_eager")
    assert graphs[-1] == graphs[1]


@SLOW
@pytest.mark.parametrize(("family", "method"), [("gpt2", "full"), ("gpt2", "lora"), ("llama", "lora"), ("llama", "prefix_tuning")])
def test_compiled_for_this_machine(family: str, method: str) -> None:
    if why := missing_compiler("cpu"):
        pytest.skip(why)
    held_to_the_plain_ones(family, method, "inductor")


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """Layers are looked into and cut out as ever, and then run as they are: no machine code is made."""
    made = CompileCounterWithBackend("eager")
    monkeypatch.setattr(compiled, "BACKEND", made)
    return made


def small(method: str, **train: Any) -> tuple[Adapted, Family]:
    adapted, facts = adapted_tiny("gpt2", method)
    make_ready(adapted, TrainConfig(**train), "cpu")
    return adapted, facts


def test_it_is_off_unless_asked_for_and_layers_stay_what_they_were(counter: CompileCounterWithBackend) -> None:
    plain, facts = small("lora")
    assert not any(isinstance(layer, CompiledLayer) for layer in plain.model.modules())
    assert "compile" not in TrainConfig().model_dump()
    adapted, _ = small("lora", compile=True)
    names = list(adapted.root.state_dict())
    assert names == list(plain.root.state_dict())
    assert sum(isinstance(layer, CompiledLayer) for layer in adapted.model.modules()) == plain.model.config.n_layer
    kinds = [type(layer) for layer in adapted.model.modules()]
    make_ready(adapted, TrainConfig(compile=True), "cpu")
    assert [type(layer) for layer in adapted.model.modules()] == kinds, "a second time changes nothing"
    other = copy.deepcopy(adapted)
    batch = batches(PACKED)[0]
    with torch.no_grad():
        next(iter(other.trained().values())).add_(1)
        measured, before = (float(summed_loss(one, facts, batch)) for one in (adapted, plain))
    assert measured == before, "what is measured is as it was, to the last bit"
    assert counter.frame_count == 0
    wanted, moved = (float(summed_loss(one, facts, batch).detach()) for one in (adapted, other))
    assert wanted == pytest.approx(before, rel=1e-12)
    assert moved != pytest.approx(wanted), "a copy computes with its own weights"
    assert counter.frame_count > 0


def test_answers_are_written_by_the_layers_as_they_were(counter: CompileCounterWithBackend) -> None:
    adapted, _ = small("lora", compile=True)
    plain, _ = small("lora")
    ids = torch.arange(10)[None] + 3
    written = [one.model.eval().generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None) for one in (adapted, plain)]
    assert torch.equal(*written)
    assert counter.frame_count == 0


@pytest.mark.parametrize("more", RUNS)
def test_a_run_and_its_checkpoints(more: dict[str, Any], counter: CompileCounterWithBackend, tmp_path: Path) -> None:
    """Stopped twice, going on without and again with it, it ends where the run ends that never had it."""
    never = make_run(tmp_path / "never", "gpt2", "full", torch.float64, **more)
    make_ready(never.adapted, never.config, "cpu")
    train(never)
    for stop, chosen in ((3, True), (6, False), (99, True)):
        run = make_run(tmp_path / "turns", "gpt2", "full", torch.float64, compile=chosen, **more)
        make_ready(run.adapted, run.config, "cpu")
        run.report = _stop_at(stop)
        if stop < 99:
            with pytest.raises(KeyboardInterrupt):
                train(run)
        else:
            train(run)
    for (_, got), (_, wanted) in zip(losses(run.folder), losses(never.folder), strict=True):
        assert got == pytest.approx(wanted, rel=1e-12)
    assert furthest(weights(run), weights(never)) < 1e-10
    assert 0 < counter.frame_count <= compiled.MOST_GRAPHS


def _stop_at(step: int) -> Any:
    def report(progress: Any, steps: int) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize(
    ("settings", "where", "words"),
    [
        ({"offload_frozen_weights": True}, "cpu", "weights come and go"),
        ({"parallel": "fsdp"}, "cpu", "use train.parallel=ddp"),
        ({"compile": "cuda_graphs"}, "cpu", "needs a CUDA GPU"),
        ({"compile": "cuda_graphs", "activation_checkpointing": True}, "cuda", "train.activation_checkpointing"),
        ({"compile": "cuda_graphs", "optimizer_in_backward": True}, "cuda", "train.optimizer_in_backward"),
        ({}, "mps", "not for mps"),
    ],
)
def test_what_does_not_go_together_is_one_line(settings: dict[str, Any], where: str, words: str) -> None:
    config = TrainConfig.model_validate({"compile": True} | settings)
    with pytest.raises(UserError, match=words) as refused:
        refuse_to_compile(config_of("gpt2"), config, where)
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="4 bits"):
        refuse_to_compile(config_of("gpt2"), TrainConfig(compile=True), "cpu", four_bit=True)


def test_a_method_that_the_compiler_cannot_look_into_is_named(counter: CompileCounterWithBackend) -> None:
    adapted, facts = small("dora", compile=True)
    with pytest.raises(UserError, match=r"cannot take GPT2Block with this method .*leave train.compile out"):
        summed_loss(adapted, facts, batches(PACKED)[0])


def test_a_machine_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    adapted, _ = adapted_tiny("gpt2", "lora")
    with pytest.raises(UserError, match=r"no-such-compiler is not here: install g.., or leave train.compile out"):
        make_ready(adapted, TrainConfig(compile=True), "cpu")
    if importlib.util.find_spec("triton") is None:
        assert "pip install triton" in missing_compiler("cuda")
