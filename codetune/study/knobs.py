"""The values of a recommended recipe, each with where it comes from: a study, the forecast, a paper, or codetune's defaults."""

from __future__ import annotations

from collections.abc import Sequence

from codetune.config import METHOD_NAMES, FullConfig, LoraSettings, MethodConfig, Sized, TrainRecipe
from codetune.study.grounds import CLOSENESS, Evidence, Finding, Fit, Knob, Rival

_DEFAULT = "codetune's default"
_GROWN, _LARGE, _LARGEST = 100e6, 1e9, 20e9  # parameters from which other learning rates are usual
_WIDTHS, _BATCHES, _STEPS = (256, 512, 1024, 2048, 4096), (512, 1024, 2048, 4096, 8192, 16384), 300
_BUDGETS = ("train.epochs", "train.train_tokens")
_TRAIN = (
    "train_tokens", "epochs", "batch_tokens", "max_seq_len", "schedule", "warmup_share", "final_lr_share", "weight_decay", "optimizer",
)  # fmt: skip
_TAKEN = ("lora_rank", "lora_alpha", "num_virtual_tokens", "bottleneck_size", "vera_rank", "init", "target_modules", "learning_rate_ratio")


def knobs_of(evidence: Evidence, chosen: Fit, rival: Rival | None, finding: Finding | None) -> tuple[Knob, ...]:
    """The method with its settings, the budget, and what makes it fit; in the order of a recipe."""
    method = default_method(chosen.method)
    knobs = [Knob("method.name", chosen.method, "see above"), _rate(evidence, method, rival, finding)]
    taken = {} if rival is None else {key: rival.settings[key] for key in _TAKEN if rival.settings.get(key) is not None}
    if isinstance(method, Sized):
        usual = {method.size_key: getattr(method, method.size_key)}
        usual |= {"lora_alpha": method.lora_alpha} if isinstance(method, LoraSettings) else {}
        where = _DEFAULT if finding is None else f"as in {finding.study}"
        knobs += [Knob(f"method.{key}", value, where if key in taken else _DEFAULT) for key, value in (usual | taken).items()]
    else:
        knobs += [Knob(f"method.{key}", value, f"as in {finding.study}") for key, value in taken.items() if finding is not None]
    fitted = {f"train.{key}": value for key, value in chosen.settings.items()}
    knobs += [_in_time(knob, evidence, chosen) for knob in evidence.train if knob.key not in fitted]
    where = "as in the study" if chosen.measured else f"so that it fits {evidence.machine}, by the forecast"
    return (*knobs, *(Knob(key, value, where) for key, value in fitted.items()))


def starting_train(findings: Sequence[Finding], lengths: Sequence[int]) -> tuple[Knob, ...]:
    """The `train` section to start from: that of one's own study of this model on this data, else by the data's size.

    `lengths` are the characters of each training example. Rules of thumb: three characters a token (no fewer than code has), rows that
    hold 99 of 100 examples, three passes, and tokens per step so that there are a few hundred steps.
    """
    near = [finding for finding in findings if finding.closeness == 0 and finding.decides]
    rivals = [one for finding in near for one in finding.rivals if not one.invalid and one.train]
    best = max(rivals, key=lambda one: one.score, default=None)
    auto = Knob("train.precision", "auto", "bf16 where the machine computes in it, else fp32")
    if best is not None:
        source = next(finding.study for finding in near if best in finding.rivals)
        taken = {key: best.train[key] for key in _TRAIN if best.train.get(key) is not None}
        return (*(Knob(f"train.{key}", value, f"as in {source}") for key, value in taken.items()), auto)
    epochs = Knob("train.epochs", 3.0, "a usual start; the best weights by validation loss are kept")
    if not lengths:
        return epochs, auto
    tokens = sum(lengths) // 3
    longest = sorted(lengths)[min(len(lengths) - 1, int(0.99 * len(lengths)))] // 3
    width = next((size for size in _WIDTHS if size >= longest), _WIDTHS[-1])
    fewest = 3 * tokens // _STEPS
    batch = next((size for size in reversed(_BATCHES) if size <= fewest), _BATCHES[0])
    return (
        epochs,
        Knob("train.batch_tokens", max(batch, width), f"{_STEPS} steps or more of about {3 * tokens:,} tokens in all"),
        Knob("train.max_seq_len", width, f"99 of 100 examples are about {longest} tokens or shorter, by their characters"),
        auto,
    )


def default_method(name: str) -> MethodConfig:
    """A method with codetune's defaults."""
    assert name in METHOD_NAMES
    tree = {"name": "x", "model": "x", "data": {"source": "x"}, "method": name}
    return TrainRecipe.model_validate(tree).method


def starting_rate(method: MethodConfig, parameters: int | None) -> tuple[float, str]:
    """A learning rate to start from, and its source.

    codetune's defaults were found on its own model of 7 million parameters. LoRA and its relatives: 2e-4 from 100 million on (Hu et al.
    2021, table 11, GPT-2 medium and large; Dettmers et al. 2023, 7B and 13B), half of that from 20 billion on (Dettmers et al., 33B
    and 65B). Full fine-tuning: a tenth of LoRA's. Of the others no rate by size is known here.
    """
    if parameters is None or parameters < _GROWN:
        return method.learning_rate, _DEFAULT
    plain = isinstance(method, LoraSettings) and method.name != "lora_plus"
    if plain or isinstance(method, FullConfig):
        lora, source = 2e-4, "Dettmers et al. 2023: 7B and 13B"
        if parameters < _LARGE:
            source = "Hu et al. 2021, table 11: GPT-2 medium and large"
        elif parameters >= _LARGEST:
            lora, source = 1e-4, "Dettmers et al. 2023: 33B and 65B"
        return (lora, source) if plain else (lora / 10, f"a tenth of LoRA's ({source})")
    return method.learning_rate, f"{_DEFAULT}, found on a model of 7M: not known for this size"


def _rate(evidence: Evidence, method: MethodConfig, rival: Rival | None, finding: Finding | None) -> Knob:
    if rival is not None and finding is not None and rival.learning_rate is not None:
        how = "found by the search of" if rival.searched else "as in"
        return Knob("method.learning_rate", rival.learning_rate, f"{how} {finding.study} ({CLOSENESS[finding.closeness]})")
    return Knob("method.learning_rate", *starting_rate(method, evidence.parameters))


def _in_time(knob: Knob, evidence: Evidence, chosen: Fit) -> Knob:
    """The budget cut to the hours allowed, where all of it takes longer; every other value as it is."""
    if knob.key not in _BUDGETS or evidence.hours is None or chosen.seconds is None or chosen.seconds <= 3600 * evidence.hours:
        return knob
    share = 3600 * evidence.hours / chosen.seconds
    cut = int(knob.value * share) if knob.key == "train.train_tokens" else float(f"{knob.value * share:.2g}")
    return Knob(knob.key, cut, f"{knob.value:g} would take longer than the {evidence.hours:g} h allowed")
