"""What is tried: a method on a tiny model, and the same model's stock answer on one text at a time to hold it against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from codetune.batches import collate, make_rows
from codetune.config import (
    BitFitConfig,
    BottleneckConfig,
    DoraConfig,
    FullConfig,
    Ia3Config,
    LnTuningConfig,
    LoraConfig,
    LoraPlusConfig,
    MethodConfig,
    Packing,
    PissaConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    PTuningConfig,
    QloraConfig,
    RsLoraConfig,
    VeraConfig,
)
from codetune.data.tokenise import TokenisedExamples, join
from codetune.methods import Adapted, SoftPrompt, attach
from codetune.models.families import Family, family_of, targets_of
from codetune.models.forward import prefix_cache, summed_loss
from codetune.probe.forms import FORMS, VOCAB, build, build_in_four_bits

METHODS: dict[str, MethodConfig] = {
    "full": FullConfig(),
    "lora": LoraConfig(lora_rank=3, lora_alpha=6),
    "rslora": RsLoraConfig(lora_rank=3, lora_alpha=6),
    "dora": DoraConfig(lora_rank=3, lora_alpha=6),
    "pissa": PissaConfig(lora_rank=3, lora_alpha=6),
    "lora_plus": LoraPlusConfig(lora_rank=3, lora_alpha=6),
    "qlora": QloraConfig(lora_rank=3, lora_alpha=6),
    "vera": VeraConfig(vera_rank=7),
    "ia3": Ia3Config(),
    "bottleneck": BottleneckConfig(bottleneck_size=3),
    "bitfit": BitFitConfig(),
    "ln_tuning": LnTuningConfig(),
    "prefix_tuning": PrefixTuningConfig(num_virtual_tokens=5),
    "prompt_tuning": PromptTuningConfig(num_virtual_tokens=5),
    "p_tuning": PTuningConfig(num_virtual_tokens=5, encoder_hidden_size=8),
}
LENGTHS = (4, 19, 9, 12, 2, 25, 7)
START_IDS = (7, 8, 9)
IN_FOUR_BITS = "qlora"
Gradients = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Subject:
    """A method on a form, its trained tensors moved off their start so that every one of them matters."""

    form: str
    adapted: Adapted
    family: Family

    @property
    def tolerance(self) -> float:
        """Relative, of a loss: float64's, unless the model itself computes in float32 somewhere, or all of it with weights of 4 bits."""
        if self.adapted.method == IN_FOUR_BITS:
            return 1e-5
        return 1e-6 if FORMS[self.form].computes_in_fp32 else 1e-12


def make(form: str, method: str, dtype: torch.dtype = torch.float64, moved: bool = True) -> Subject:
    """The subject; QLoRA on a base in 4 bits and float32. Raises UserError where the method cannot be had on the form."""
    dtype = torch.float32 if method == IN_FOUR_BITS else dtype
    model = build_in_four_bits(form) if method == IN_FOUR_BITS else build(form, dtype)
    adapted = attach(model, METHODS[method], targets_of(model), START_IDS, 0)
    if method != IN_FOUR_BITS:
        adapted.root.to(dtype)
    adapted.root.train()
    if moved and method != "full":
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in adapted.trained().values():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype))
    return Subject(form, adapted, family_of(model.config))


def texts() -> TokenisedExamples:
    """Seven texts of 2 to 25 tokens, all after the third under the loss: prompts and answers, if one looks at them so."""
    rng = np.random.default_rng(3)
    return join([rng.integers(3, VOCAB, length).tolist() for length in LENGTHS], [min(3, length - 1) for length in LENGTHS])


def alone(adapted: Adapted, ids: torch.Tensor) -> torch.Tensor:
    """Logits of one text, [tokens, vocabulary], as stock transformers computes them: no mask of ours, no packing."""
    model: Any = adapted.model
    if adapted.soft_prompt is SoftPrompt.EMBEDDINGS:
        embeddings = torch.cat([adapted.virtual_embeddings(), model.get_input_embeddings()(ids)])
        logits = model(inputs_embeds=embeddings[None], use_cache=False).logits[0, adapted.num_virtual_tokens :]
    elif adapted.soft_prompt is SoftPrompt.KEYS_VALUES:
        cache = prefix_cache(adapted, family_of(model.config), 1)
        logits = model(input_ids=ids[None], past_key_values=cache).logits[0]
    else:
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
    return torch.as_tensor(logits)


def answered(adapted: Adapted, prompt: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Logits that predict an encoder-decoder's answer, [tokens, vocabulary], by stock transformers."""
    marks = family_of(adapted.model.config).marks
    read = torch.cat([prompt, torch.tensor(marks.after_prompt, dtype=torch.long)])
    written = torch.cat([torch.tensor(marks.before_answer), answer[:-1]])
    logits = adapted.model(input_ids=read[None], decoder_input_ids=written[None], use_cache=False).logits[0]
    return torch.as_tensor(logits[len(marks.before_answer) - 1 :])


def loss_alone(adapted: Adapted, data: TokenisedExamples) -> tuple[float, Gradients]:
    """Loss summed over the texts run one by one, and its gradients."""
    adapted.root.zero_grad()
    total = 0.0
    for index in range(len(data)):
        ids, targets = torch.from_numpy(data.example(index).astype(np.int64)), torch.from_numpy(data.targets(index))
        if adapted.model.config.is_encoder_decoder:
            logits, labels = answered(adapted, ids[~targets], ids[targets]), ids[targets]
        else:
            logits, labels = alone(adapted, ids)[:-1][targets[1:]], ids[1:][targets[1:]]
        loss = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total, _gradients(adapted)


def loss_packed(
    subject: Subject, data: TokenisedExamples, packing: Packing = "exact", rows_at_once: int = 2, capacity: int = 40
) -> tuple[float, Gradients]:
    """The same from packed rows of so many tokens, so many rows at once."""
    subject.adapted.root.zero_grad()
    rows = make_rows(data, packing, capacity, range(len(data)))
    total = 0.0
    for at in range(0, len(rows), rows_at_once):
        loss = summed_loss(subject.adapted, subject.family, collate(data, rows[at : at + rows_at_once], packing))
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total, _gradients(subject.adapted)


def difference(got: tuple[float, Gradients], wanted: tuple[float, Gradients]) -> tuple[float, float]:
    """Relative: of the losses, and the largest over all gradients by their norms. What trained in one alone differs by all of it.

    Where a gradient is 0 but for rounding, as that of a bias of keys is, relative to the largest of all.
    """
    if got[1].keys() != wanted[1].keys():
        return 1.0, 1.0
    least = 1e-3 * max(gradient.norm() for gradient in wanted[1].values())
    errors = [float((got[1][name] - one).norm() / one.norm().clamp_min(least)) for name, one in wanted[1].items()]
    return abs(got[0] / wanted[0] - 1), max(errors, default=0.0)


def _gradients(adapted: Adapted) -> Gradients:
    return {name: parameter.grad.clone() for name, parameter in adapted.trained().items() if parameter.grad is not None}
