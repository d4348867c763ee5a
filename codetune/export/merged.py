"""A tuned model as one folder that any program loads: merged, with tokenizer and card, and verified before it has its name."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from codetune.batches import Batch
from codetune.data import basics
from codetune.data.tokenise import join
from codetune.errors import UserError
from codetune.export.card import write_card
from codetune.export.tuned import Tuned
from codetune.methods import Adapted, load_adapter
from codetune.models.load import LoadedModel, load_model
from codetune.models.merge import merged, save_whole, stored_dtype
from codetune.models.stages import can_merge
from codetune.runs import whole_folder
from codetune.train.checks import PROBE_EXAMPLES, difference, probe_batch, probe_logits

Dtype = Literal["fp32", "bf16", "fp16"]
# The largest difference of logits over the largest logit: of the merging in fp32, and of the rounding of all weights to 11 or 8 bits.
TOLERANCE: dict[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}


@dataclass(frozen=True, slots=True)
class MergedExport:
    """What was written. Differences are of logits, largest over largest, against the adapter on its base in fp32."""

    folder: Path
    base: str
    dtype: str
    merge_difference: float
    saved_difference: float
    num_bytes: int


def export_merged(tuned: Tuned, out: Path, dtype: Dtype | None = None, base: str | None = None) -> MergedExport:
    """Write the whole model into `out`, in the dtype of its base unless another is asked for.

    The base is loaded in fp32 from its 16-bit (or fp32) weights, also where it was trained on in 4 bits, merged, rounded once, saved,
    loaded anew and compared. Raises UserError, and leaves no folder, for what cannot be merged or does not answer alike.
    """
    if not tuned.whole and not can_merge(tuned.folder):
        raise UserError(
            f"{tuned.given} was tuned by {tuned.method}, which cannot be merged into a model's weights: serve it with its adapter "
            f"(codetune chat --model {base or tuned.base} --adapter {tuned.given}), or give the adapter away (--to adapter)"
        )
    name = str(tuned.folder) if tuned.whole else base or tuned.base
    loaded = load_model(name)
    if loaded.family.encoder_decoder:
        raise UserError(f"{tuned.given}: encoder-decoder models are not merged yet; give the adapter away (--to adapter)")
    kind = dtype or stored_dtype(name)
    batch = probe_of(tuned, loaded)
    adapted = Adapted(loaded.model, "full") if tuned.whole else _adapter_on(tuned, loaded)
    wanted = probe_logits(adapted, loaded.family, batch)
    model = merged(adapted, tuned.given)
    merging = difference(probe_logits(Adapted(model, "merged"), loaded.family, batch), wanted)
    _require_close(merging, "fp32", tuned.given)
    with whole_folder(out) as folder:
        try:
            save_whole(model, loaded.tokenizer.inner, folder, kind)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot save to {out}: {error}; free disk space, or choose another --out") from None
        family = loaded.family
        del model, adapted, loaded
        gc.collect()  # two models of the full size need not be in memory at once
        again = load_model(str(folder))
        saving = difference(probe_logits(Adapted(again.model, "merged"), family, batch), wanted)
        _require_close(saving, kind, tuned.given)
        checks = tuned.train.get("checks", {}) | ({} if tuned.whole else {"merge_difference": merging})
        write_card(replace(tuned, train=tuned.train | {"checks": checks}), folder, base or tuned.base, kind)
        size = sum(file.stat().st_size for file in folder.iterdir())
    return MergedExport(out, base or tuned.base, kind, merging, saving, size)


def probe_of(tuned: Tuned, loaded: LoadedModel) -> Batch:
    """A few problems in the prompt style of the run: at hand wherever the training data is not."""
    style = str(tuned.recipe.get("data", {}).get("prompt_style") or "instruction")
    try:
        template = loaded.template(style)
    except UserError:
        template = loaded.template("instruction")
    texts = [template.render(problem).text for problem in basics.load("validation")[:PROBE_EXAMPLES]]
    room = loaded.family.max_positions
    return probe_batch(join([loaded.tokenizer.encode(text, with_bos=True)[:room] for text in texts], [0] * len(texts)))


def _adapter_on(tuned: Tuned, loaded: LoadedModel) -> Adapted:
    wanted, comparable = tuned.train.get("model_hash"), tuned.train.get("base_format", "fp32") == loaded.weights_format
    if comparable and wanted not in (None, loaded.model_hash):
        raise UserError(f"{tuned.given} was tuned on {tuned.base!r} as it was then, not on {loaded.name!r}: give that model with --base")
    return load_adapter(loaded.model, tuned.folder)


def _require_close(found: float, dtype: str, given: str) -> None:
    if not found <= TOLERANCE[dtype]:  # no number is not close
        advice = "; try --dtype fp32" if dtype != "fp32" else ""
        raise UserError(f"{given}: merged in {dtype} it does not answer like the adapter (logits differ by {found:.2g}){advice}")
