"""The probes: each tries one feature on one subject, and says in a line why it does not hold, or nothing where it does."""

from __future__ import annotations

import contextlib
import copy
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from codetune.batches import collate, make_rows
from codetune.config import DataConfig, DecodingConfig, Packing, TrainConfig
from codetune.data.tokenise import join
from codetune.errors import UserError
from codetune.generate.engine import OwnEngine
from codetune.generate.request import Request
from codetune.methods import Adapted, attach, load_adapter
from codetune.methods.encoder_decoder import method_for_pairs, refused_for_pairs
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.compatibility import FEATURES, Row, untrainable_in_four_bits
from codetune.models.families import family_of, targets_of
from codetune.models.load import LoadedModel, quiet
from codetune.models.quantized import BLOCK
from codetune.probe.forms import FORMS, build, build_in_four_bits
from codetune.probe.subject import (
    IN_FOUR_BITS,
    METHODS,
    START_IDS,
    Subject,
    alone,
    answered,
    difference,
    loss_alone,
    loss_packed,
    make,
    texts,
)
from codetune.train.checks import probe_logits
from codetune.train.loop import train
from codetune.train.plan import plan_steps
from codetune.train.run import Material, Run

Probe = Callable[[str, str], str]  # form and method to a reason, or ""
IDS = [7, 3, 50, 11, 29, 4, 4, 60, 18, 33, 5, 21]  # longer than a window
PROMPTS = ("abc", "hello world of many letters", "z", "qrstuvw", "mnopqrstuvwxyzabcdef")
GRADIENTS = 10  # gradients may differ by so many times a loss's tolerance
SAVED = 1e-4  # of logits in float32, by another order of operations


def packing(form: str, method: str) -> str:
    """Loss and every gradient of packed rows are those of the texts run alone."""
    subject = make(form, method)
    if subject.family.encoder_decoder:
        return refused_for_pairs(METHODS[method], TrainConfig(packing="exact"), DataConfig(source="pairs"))
    wanted = loss_alone(subject.adapted, texts())
    return _apart(subject, difference(loss_packed(subject, texts()), wanted), "packed rows differ from texts alone")


def padding(form: str, method: str) -> str:
    """The same of rows of one text each."""
    subject = make(form, method)
    wanted = loss_alone(subject.adapted, texts())
    return _apart(subject, difference(loss_packed(subject, texts(), "padded", 3), wanted), "padded rows differ from texts alone")


def checkpointing(form: str, method: str) -> str:
    """Loss and gradients are the same when layers are computed twice."""
    subject = make(form, method)
    packing: Packing = "padded" if subject.family.encoder_decoder else "exact"
    wanted = loss_packed(subject, texts(), packing)
    checkpoint_layers(subject.adapted.model)
    return _apart(subject, difference(loss_packed(subject, texts(), packing), wanted), "layers computed twice give another gradient")


def four_bits(form: str, method: str) -> str:
    """On a base in 4 bits: the adapter trains, and saved and loaded again gives the same logits, bit for bit."""
    if reason := untrainable_in_four_bits(METHODS[method]):
        return reason
    if FORMS[form].config(BLOCK).is_encoder_decoder:
        return method_for_pairs(METHODS[method].model_copy(update={"quantize": "nf4"}))
    subject = Subject(form, Adapted(build_in_four_bits(form), "base"), family_of(FORMS[form].config(BLOCK)))
    adapted = attach(subject.adapted.model, METHODS[method], targets_of(subject.adapted.model), START_IDS, 0)
    subject = replace(subject, adapted=adapted)
    optimizer = torch.optim.Adam(adapted.trained().values(), lr=1e-3)
    losses = []
    for _ in range(3):
        losses.append(loss_packed(subject, texts())[0])
        optimizer.step()
    if not losses[-1] < losses[0]:
        return f"the loss does not fall: {losses[0]:.4f} to {losses[-1]:.4f}"
    wanted = logits(subject)
    with tempfile.TemporaryDirectory() as folder:
        adapted.save(Path(folder))
        again = replace(subject, adapted=load_adapter(build_in_four_bits(form), Path(folder)))
    return "" if torch.equal(logits(again), wanted) else "what is saved and loaded again gives other logits"


def generation(form: str, method: str) -> str:
    """Greedy text in a batch is that of a loop without cache or batch."""
    subject = make(form, method)
    subject.adapted.root.eval()
    greedy = _greedy_answer if subject.family.encoder_decoder else _greedy
    wanted = [greedy(subject.adapted, prompt, 10) for prompt in PROMPTS]
    engine = OwnEngine(LoadedModel("tiny", subject.adapted.model, Letters(), subject.family, ""), subject.adapted)  # type: ignore[arg-type]
    requests = [Request(str(number), prompt) for number, prompt in enumerate(PROMPTS)]
    for batch_size in (1, 5):
        made = engine.generate(requests, DecodingConfig(max_new_tokens=10, batch_size=batch_size))
        if [one.text for one in made] != wanted:
            return f"answers in batches of {batch_size} differ from answers alone"
    return ""


def saving(form: str, method: str) -> str:
    """What was saved and loaded gives the same logits, bit for bit."""
    if method == IN_FOUR_BITS:
        return four_bits(form, method)
    subject = make(form, method, torch.float32)
    wanted = logits(subject)
    with tempfile.TemporaryDirectory() as folder:
        subject.adapted.save(Path(folder))
        if method == "full":
            again = Adapted(type(subject.adapted.model).from_pretrained(folder), "full")
        else:
            again = load_adapter(build(form, torch.float32), Path(folder))
    again.model.set_attn_implementation(subject.adapted.model.config._attn_implementation)
    return "" if torch.equal(logits(replace(subject, adapted=again)), wanted) else "what is saved and loaded again gives other logits"


def merge(form: str, method: str) -> str:
    """The merged model gives the adapter's logits; QLoRA's becomes part of the base in 16 bits or more."""
    subject = make(form, "lora" if method == IN_FOUR_BITS else method, torch.float32)
    if method == "full":
        return ""
    if not subject.adapted.merges:
        return "what is trained is no change of the base's weights, so it cannot become part of them"
    wanted = logits(subject)
    merged = copy.deepcopy(subject.adapted.peft).merge_and_unload()
    got = logits(replace(subject, adapted=Adapted(merged, "base")))
    error = float((got - wanted).abs().max() / wanted.abs().max())
    return "" if error < SAVED else f"the merged model's logits differ by {error:.0e}"


def resume(form: str, method: str) -> str:
    """A run that was stopped half-way ends with the same weights as one that was not, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        whole = run_in(form, method, Path(folder) / "whole")
        train(whole)
        stopped = run_in(form, method, Path(folder) / "stopped")
        stopped.report = _stop_after(2)
        with contextlib.suppress(KeyboardInterrupt):
            train(stopped)
        again = run_in(form, method, Path(folder) / "stopped")
        train(again)
    wanted = whole.adapted.trained()
    same = all(torch.equal(parameter, wanted[name]) for name, parameter in again.adapted.trained().items())
    untrained = make(form, method, torch.float32, moved=False).adapted.trained()
    if any(torch.equal(parameter, wanted[name]) for name, parameter in untrained.items()):
        return "training leaves a tensor where it was"
    return "" if same else "a stopped run ends with other weights"


def run_in(form: str, method: str, folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Run:
    """Four steps of training, to be started in this folder."""
    subject = make(form, method, dtype, moved=False)
    data = texts()
    packing: Packing = "padded" if subject.family.encoder_decoder else "exact"
    rows = make_rows(data, packing, 40, range(len(data)))
    config = {"packing": packing, "validations": 0, "checkpoint_every_s": 1e-9, "micro_batch_size": 2, "spike_factor": 0} | settings
    material = Material(data, rows, plan_steps(rows, 160, 40, seed=0))
    return Run(subject.adapted, subject.family, material, TrainConfig.model_validate(config), METHODS[method].learning_rate, folder)


@torch.no_grad()
def logits(subject: Subject) -> torch.Tensor:
    """Of one text, [tokens, vocabulary], as training and validation see them."""
    return probe_logits(subject.adapted, subject.family, collate(join([IDS], [4]), [[(0, 0, len(IDS))]], "padded"))


class Letters:
    """A tokenizer of single letters."""

    bos_id, eos_id = None, 0

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        return [3 + (ord(letter) - 97) % 55 for letter in text]

    def decode_after(self, prompt_ids: list[int], ids: list[int]) -> str:
        return " ".join(map(str, ids))


def _greedy(adapted: Adapted, prompt: str, steps: int) -> str:
    letters, made = Letters(), list[int]()
    ids = letters.encode(prompt, False)
    with torch.no_grad():
        while len(made) < steps and 0 not in made:
            made.append(int(alone(adapted, torch.tensor(ids + made))[-1].argmax()))
    return letters.decode_after([], [token for token in made if token])


def _greedy_answer(adapted: Adapted, prompt: str, steps: int) -> str:
    letters, made = Letters(), list[int]()
    ids = torch.tensor(letters.encode(prompt, False))
    with torch.no_grad():
        while len(made) < steps and not {0, 2} & {*made}:
            made.append(int(answered(adapted, ids, torch.tensor([*made, 0]))[-1].argmax()))
    return letters.decode_after([], [token for token in made if token not in (0, 2)])


def _stop_after(step: int) -> Callable[[Any, int], None]:
    def report(progress: Any, steps: int) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return report


def _apart(subject: Subject, errors: tuple[float, float], what: str) -> str:
    loss, gradients = errors
    if loss < subject.tolerance and gradients < GRADIENTS * subject.tolerance:
        return ""
    return f"{what}: by {loss:.0e} in the loss and {gradients:.0e} in a gradient, where {subject.tolerance:.0e} is rounding"


PROBES: dict[str, Probe] = {
    "packing": packing, "padding": padding, "checkpointing": checkpointing, "4-bit": four_bits, "merge": merge, "generation": generation,
    "saving": saving, "resume": resume,
}  # fmt: skip


def row_of(pair: tuple[str, str]) -> Row:
    """All features of a method on a form: why each does not work, "" where it does."""
    form, method = pair
    if FORMS[form].config(BLOCK).is_encoder_decoder and (reason := method_for_pairs(METHODS[method])):
        return {"refused": reason}
    try:
        make(form, method)
    except UserError as error:
        return {"refused": str(error)}
    return {feature: _tried(PROBES[feature], form, method) for feature in FEATURES if feature in PROBES}


def begin() -> None:
    """In a process that probes: one thread, no talk."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    quiet()


def _tried(probe: Probe, form: str, method: str) -> str:
    try:
        return probe(form, method)
    except Exception as error:  # whatever a library raises is why it does not work
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
