"""A GPU's attention of packed rows against the dense mask, in float64 on a CPU: loss and every gradient, and the masks pair by pair.

FlexAttention runs here uncompiled, its backward pass too, which torch refuses on a CPU only because nothing compiles it there. The
variable-length operator is torch's own, with its own gradient formula and arguments, on a plain kernel of this file's.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention import flex_attention as flex
from torch.nn.attention import varlen
from torch.nn.attention.flex_attention import create_mask

from codetune.batches import Batch, attention_mask, collate, make_rows
from codetune.config import TrainConfig
from codetune.methods import Adapted, SoftPrompt, attach
from codetune.models.attention import LAYOUT, PROVED
from codetune.models.compiled import compile_layers
from codetune.models.families import Family, family_of, targets_of
from codetune.models.fast import gpu_attention
from codetune.models.fast.gpu_attention import DOCUMENT_STEP, PACKED, Blocks, Stream, block_mask, packed_of, stream_of
from codetune.models.fast.gpu_proof import failure, sample_batch
from codetune.models.fast.model import speed_up
from codetune.models.forward import attention_inputs, summed_loss
from codetune.probe.forms import FORMS, build
from codetune.probe.subject import METHODS, texts
from codetune.train.memory import shaped
from codetune.train.trace import trace

TAKE_LAYOUTS = [name for name, form in FORMS.items() if form.model_type in PROVED]


def _pieces(starts: torch.Tensor) -> list[slice]:
    return [slice(a, b) for a, b in itertools.pairwise(starts.tolist())]


def _scores(q: torch.Tensor, k: torch.Tensor, scale: float | None, window: list[int]) -> torch.Tensor:
    """[heads, queries, keys] after softmax; `window` is how far back and forward a query sees, -1 without end."""
    place = torch.arange(q.shape[0])
    ahead = place[None, :] - place[:, None]
    seen = ((-ahead <= window[0]) | (window[0] < 0)) & ((ahead <= window[1]) | (window[1] < 0))
    scores = torch.einsum("qhd,khd->hqk", q, k) * (scale or q.shape[-1] ** -0.5)
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)


def _plain_varlen(query, key, value, starts, starts_k, longest, longest_k, is_causal=False, scale=None, window_size=None, *_):  # type: ignore[no-untyped-def]
    """As flash attention's kernel: [tokens, heads, head dim]; what lies behind the longest piece is never written."""
    assert starts.dtype == torch.int32
    assert int((starts[1:] - starts[:-1]).max()) <= longest == longest_k
    assert is_causal == (window_size == [-1, 0])
    out, groups = torch.full_like(query, torch.nan), query.shape[1] // key.shape[1]
    for piece in _pieces(starts):
        shared = _scores(query[piece], key[piece].repeat_interleave(groups, 1), scale, window_size)
        out[piece] = torch.einsum("hqk,khd->qhd", shared, value[piece].repeat_interleave(groups, 1))
    return out, query.new_zeros(query.shape[1], query.shape[0], dtype=torch.float32), torch.zeros(2, dtype=torch.uint64)


def _plain_varlen_backward(grad, query, key, value, out, lse, starts, *more):  # type: ignore[no-untyped-def]
    scale, window = more[-2:]
    found = [torch.zeros_like(one) for one in (query, key, value)]
    groups, scale = query.shape[1] // key.shape[1], scale or query.shape[-1] ** -0.5
    for piece in _pieces(starts):
        q, k, v = query[piece], key[piece].repeat_interleave(groups, 1), value[piece].repeat_interleave(groups, 1)
        shared = _scores(q, k, scale, window)
        of_shared = torch.einsum("qhd,khd->hqk", grad[piece], v)
        of_scores = shared * (of_shared - (of_shared * shared).sum(-1, keepdim=True)) * scale
        found[0][piece] = torch.einsum("hqk,khd->qhd", of_scores, k)
        found[1][piece] = torch.einsum("hqk,qhd->khd", of_scores, q).unflatten(1, (-1, groups)).sum(2)
        found[2][piece] = torch.einsum("hqk,qhd->khd", shared, grad[piece]).unflatten(1, (-1, groups)).sum(2)
    return tuple(found)


varlen._varlen_attn.register_kernel("cpu")(_plain_varlen)
varlen._varlen_attn_backward.register_kernel("cpu")(_plain_varlen_backward)


@pytest.fixture(autouse=True)
def _backward_of_flex_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)
    monkeypatch.setattr(flex, "_warn_once", lambda *_, **__: None)


def _made(form: str, method: str, width: int = 16) -> tuple[Adapted, Family]:
    model = build(form, width=width)
    adapted = attach(model, METHODS[method], targets_of(model), [7, 8, 9], 0)
    adapted.root.to(torch.float64).train()
    return adapted, family_of(model.config)


def _result(form: str, method: str, attention: str, batch: Batch) -> tuple[float, dict[str, torch.Tensor], Any]:
    adapted, family = _made(form, method)
    adapted.model.set_attn_implementation(attention)
    layout = attention_inputs(adapted, family, batch).get(LAYOUT)
    loss = summed_loss(adapted, family, batch)
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in adapted.trained().items()}, layout


def _batch() -> Batch:
    data = texts()
    return collate(data, make_rows(data, "exact", 40, range(len(data))), "exact")


def _held_to_the_dense_mask(form: str, method: str, kind: type) -> None:
    batch = _batch()
    loss, gradients, none = _result(form, method, "sdpa", batch)
    got, got_gradients, layout = _result(form, method, PACKED, batch)
    assert none is None
    assert isinstance(layout, kind)
    bound = 1e-6 if FORMS[form].computes_in_fp32 else 1e-12
    assert got == pytest.approx(loss, rel=bound)
    for name, gradient in gradients.items():
        assert (got_gradients[name] - gradient).norm() <= 10 * bound * gradient.norm().clamp_min(1e-12), name


@pytest.mark.parametrize("form", TAKE_LAYOUTS)
def test_documents_as_one_stream_change_neither_loss_nor_gradients(form: str) -> None:
    _held_to_the_dense_mask(form, "lora", Stream)


SLOW = pytest.mark.slow
BLOCKS = [("gpt2", "prompt_tuning"), ("llama-grouped", "prefix_tuning"), ("mistral", "prefix_tuning")]
MORE = [(form, method) for form in ("gpt2", "mistral", "gpt_bigcode", "phi3") for method in ("prompt_tuning", "prefix_tuning")]


@pytest.mark.parametrize(("form", "method"), [*BLOCKS, *(pytest.param(*pair, marks=SLOW) for pair in MORE if pair not in BLOCKS)])
def test_blocks_with_virtual_tokens_change_neither_loss_nor_gradients(form: str, method: str) -> None:
    _held_to_the_dense_mask(form, method, Blocks)


@SLOW
@pytest.mark.parametrize(("form", "method"), [("gpt2", "full"), ("llama-grouped", "lora"), *BLOCKS[::2]])
def test_within_compiled_layers(form: str, method: str) -> None:
    """Streams and blocks of two batches, each layer one graph with its attention in it."""
    counter, data = CompileCounterWithBackend("eager"), texts()
    other = collate(data, make_rows(data, "exact", 70, range(5)), "exact")
    adapted, family = _made(form, method)
    adapted.model.set_attn_implementation(PACKED)
    compile_layers(adapted.model, graphs=False, backend=counter)
    for batch in (_batch(), other):
        loss, gradients, _ = _result(form, method, PACKED, batch)
        adapted.root.zero_grad()
        got = summed_loss(adapted, family, batch)
        got.backward()
        assert float(got.detach()) == pytest.approx(loss, rel=1e-6)
        for name, parameter in adapted.trained().items():
            assert (parameter.grad - gradients[name]).norm() <= 1e-5 * gradients[name].norm().clamp_min(1e-12), name
    assert 0 < counter.frame_count <= 4


def _long_rows() -> Batch:
    return sample_batch()


@pytest.mark.parametrize("window", [None, 50, 150])
@pytest.mark.parametrize(("virtual", "queries"), [(0, False), (20, True), (20, False), (140, True), (140, False)])
def test_blocks_are_the_dense_mask(virtual: int, queries: bool, window: int | None) -> None:
    """Rows of more than one block, documents across their borders, padding, more virtual tokens than a block has."""
    batch = _long_rows()
    wanted = attention_mask(batch, virtual, queries, window)
    made = block_mask(batch, virtual, queries, window)
    rows, _, asked, keys = wanted.shape
    assert torch.equal(create_mask(made.mask_mod, rows, None, asked, keys, device="cpu"), wanted)
    # What the blocks leave out is masked, what they take whole is not, and the backward pass's lists are the same blocks.
    seen, whole = _as_pairs(made, asked, keys)
    assert not (wanted & ~seen).any()
    assert not (whole & ~wanted).any()
    assert made.shape == (rows, 1, asked, keys)
    if not virtual and window is None:
        assert not seen.all()  # the second half of a long document does not meet the next one's


def _as_pairs(made: Any, asked: int, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs in blocks that are computed at all, and in those where no pair is masked."""
    found = []
    for counts, lists in ((made.kv_num_blocks, made.kv_indices), (made.full_kv_num_blocks, made.full_kv_indices)):
        dense = torch.zeros(lists.shape, dtype=torch.bool)
        for at in torch.cartesian_prod(*map(torch.arange, counts.shape)).tolist():
            dense[(*at, lists[tuple(at)][: counts[tuple(at)]].long())] = True
        found.append(dense.repeat_interleave(128, -1).repeat_interleave(128, -2)[..., :asked, :keys])
    return found[0] | found[1], found[1]


def test_padding_goes_with_its_rows_last_document() -> None:
    batch = _batch()
    stream = stream_of(batch, None)
    rows, width = batch.input_ids.shape
    starts = batch.places[:, 0].tolist()
    assert stream.starts.tolist() == [*starts, *[rows * width] * (DOCUMENT_STEP + 1 - len(starts))]  # the rest are empty
    assert stream.starts[0] == 0
    assert set(range(0, rows * width, width)) <= set(stream.starts.tolist())  # no piece crosses a row's end


def test_the_rule() -> None:
    adapted, family = _made("mistral", "lora")
    speed_up(adapted.model, "cuda")
    assert adapted.model.config._attn_implementation == PACKED
    batch = _batch()
    assert isinstance(packed_of(adapted.model, family, batch, 0, False, torch.bfloat16), Stream)
    assert isinstance(packed_of(adapted.model, family, batch, 3, False, torch.bfloat16), Blocks)
    falcon, _ = _made("falcon-7b", "lora")
    before = falcon.model.config._attn_implementation
    speed_up(falcon.model, "cuda")
    assert falcon.model.config._attn_implementation == before  # its attention takes no layouts


def test_what_fails_its_proof_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    batch = sample_batch()
    stream = stream_of(batch, None)
    holds = gpu_attention._holds

    def unaware(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        whole = Stream(torch.tensor([0, 192, 384], dtype=torch.int32), 192, None)
        return gpu_attention._by_stream(q, k, v, whole, None)

    def broken(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nfor this device")

    def aware(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return gpu_attention._by_stream(q, k, v, stream, None)

    for dtype in (torch.float64, torch.bfloat16):
        assert holds("aware", aware, batch, dtype, (4, 2, 8))
        assert not holds("unaware", unaware, batch, dtype, (4, 2, 8))
    assert not holds("broken", broken, batch, torch.float32, (4, 4, 8))
    assert "broken is not used: RuntimeError: no kernel image is available" in caplog.text
    assert "unaware is not used: its value differs" in caplog.text
    x = torch.ones(3)
    assert "gradient" in failure("half a gradient", lambda one: one * 0.5 + one.detach() * 0.5, lambda one: one, [x])


def test_soft_prompts_meet_blocks_as_queries_or_as_keys_alone() -> None:
    for method, soft in (("prompt_tuning", SoftPrompt.EMBEDDINGS), ("prefix_tuning", SoftPrompt.KEYS_VALUES)):
        adapted, family = _made("llama", method)
        assert adapted.soft_prompt is soft
        speed_up(adapted.model, "cuda")
        layout = attention_inputs(adapted, family, _batch())[LAYOUT]
        asked, keys = layout.mask.seq_lengths
        assert keys - asked == (0 if soft is SoftPrompt.EMBEDDINGS else adapted.num_virtual_tokens)


@pytest.mark.parametrize("method", ["lora", pytest.param("prefix_tuning", marks=SLOW)])
def test_a_forecast_counts_what_it_keeps(method: str) -> None:
    """Traced without data as on a GPU, against what autograd holds of a real pass through the same kernels."""
    config, batch, train = FORMS["llama-grouped"].config(64), sample_batch(), TrainConfig()
    made = shaped(config, METHODS[method], train, "cuda")
    loss = lambda there: summed_loss(made.adapted, made.family, there)  # noqa: E731
    found = trace(made.adapted, loss, batch, made.family.vocab_size, gpu=True, accumulates=False)
    adapted, family = _made("llama-grouped", method, 64)
    adapted.root.float()
    speed_up(adapted.model, "cuda")
    own = {tensor.untyped_storage().data_ptr() for tensor in (*adapted.root.parameters(), *adapted.root.buffers())}
    own |= {getattr(batch, name).untyped_storage().data_ptr() for name in Batch.__dataclass_fields__}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            kept[place] = tensor  # held, so that no other tensor takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = summed_loss(adapted, family, batch)
    assert held.requires_grad
    assert found.kept == pytest.approx(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), rel=0.1)


@SLOW
def test_blocks_are_compiled_for_all_sizes_at_once() -> None:
    """One graph, without a break, for batches of several sizes, forward and backward: a kernel for each would be compiled all day."""
    counter = CompileCounterWithBackend("aot_eager")
    compute = gpu_attention._compiled(counter)
    data, sizes = texts(), set()
    for capacity in (40, 30, 26, 25):
        batch = collate(data, make_rows(data, "exact", capacity, range(len(data))), "exact")
        mask = block_mask(batch, 20, False, None)
        asked, keys = mask.seq_lengths
        rows = len(batch.input_ids)
        q, k, v = (torch.randn(rows, heads, n, 8, requires_grad=True) for heads, n in ((8, asked), (4, keys), (4, keys)))
        out = compute(q, k, v, block_mask=mask, enable_gqa=True)
        out.sum().backward()
        allowed = attention_mask(batch, 20, False, None)
        wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, allowed, enable_gqa=True)
        assert torch.allclose(out, wanted, atol=1e-5)
        sizes.add((rows, keys))
    assert len(sizes) > counter.frame_count == 1
