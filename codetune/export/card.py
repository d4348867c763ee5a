"""The model card: a README for people and for the Hugging Face hub, every figure from the run's own records.

What was not recorded is left out. A model whose gates say that its numbers are wrong says so first, and shows no scores to the hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from codetune.data.sources.registry import SOURCES
from codetune.errors import UserError
from codetune.export.front import front_matter, hub_id
from codetune.export.tuned import Tuned
from codetune.models.stages import ADAPTER_CONFIG
from codetune.prompts.template import make_template
from codetune.records import Json, Problem
from codetune.study.tables import format_bytes, format_seconds, format_small_percent

CARD = "README.md"
_KEPT_OUT = ("out", "stages", "trackers")  # of the recipe: of no use elsewhere


def write_card(tuned: Tuned, folder: Path, base: str, dtype: str = "") -> None:
    """The card into a folder that has an adapter, or the whole model in `dtype`."""
    (folder / CARD).write_text(card(tuned, base, dtype), encoding="utf-8")


def card(tuned: Tuned, base: str, dtype: str = "") -> str:
    """Markdown with the hub's head. `dtype` is that of a whole model's weights; "" for an adapter."""
    sections = (_lead(tuned, base, dtype), _use(tuned, base, bool(dtype)), _data(tuned), _training(tuned), _scores(tuned), _gates(tuned))
    parts = ["\n".join(section) for section in map(list, (*sections, _recipe(tuned), _limits(tuned, bool(dtype)))) if section]
    return f"---\n{front_matter(tuned, base, bool(dtype))}\n---\n\n" + "\n\n".join(parts) + "\n"


def _lead(tuned: Tuned, base: str, dtype: str) -> Iterator[str]:
    yield f"# {tuned.name}"
    for gate in tuned.gates:
        if gate.level == "invalid":
            yield f"\n> **Not valid** ({gate.name}): {gate.message}. The figures below do not say what this model is worth."
    source = tuned.recipe.get("data", {}).get("source")
    on = f" on `{_short(source)}`" if source else ""
    what = f"The whole model in {dtype}" if dtype else "A PEFT adapter"
    tuned_from = f"`{_short(base)}`" if base else "a model"
    yield f"\n{what}: {tuned_from}, tuned by {tuned.method.replace('_', '-')}{on} with codetune."
    if dtype and tuned.on_4_bits:
        yield "\nIt was trained on the base in 4 bits (NF4) and merged into the 16-bit one: its answers differ a little from then."
    if start := tuned.recipe.get("start"):
        yield f"\nThe training went on from the run `{_short(start)}`."


def _use(tuned: Tuned, base: str, whole: bool) -> Iterator[str]:
    yield "## How to load it\n"
    there = hub_id(base) or base or "BASE"
    if whole:
        yield from _code("python", "from transformers import AutoModelForCausalLM, AutoTokenizer", "", 'name = "this folder or repository"',
                         "model, tokenizer = AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)")  # fmt: skip
        yield from _code("sh", "codetune chat --model THIS_FOLDER")
    else:
        yield from _code("python", "from peft import PeftModel", "from transformers import AutoModelForCausalLM, AutoTokenizer", "",
                         f'base, tokenizer = AutoModelForCausalLM.from_pretrained("{there}"), AutoTokenizer.from_pretrained("{there}")',
                         'model = PeftModel.from_pretrained(base, "this folder or repository")')  # fmt: skip
        yield from _code("sh", f"codetune chat --model {there} --adapter THIS_FOLDER")
    if prompt := _prompt(tuned):
        yield f"It was trained on prompts of the style `{tuned.recipe['data']['prompt_style']}`; ask it in the same form:\n"
        yield from _code("text", prompt)


def _data(tuned: Tuned) -> Iterator[str]:
    data, train = tuned.recipe.get("data"), tuned.train
    if not data:
        return
    yield "## Data\n"
    source = SOURCES.get(data["source"])
    yield from _table(
        ("source", f"{_short(data['source'])}" + (f" ({source.content})" if source else "")),
        ("on the hub", source.hub.repository if source and source.hub else None),
        ("licence of the data", source.licence if source else None),
        ("split", data.get("split")),
        ("examples", _count(train.get("examples"))),
        ("left out as too long", _count(train.get("dropped_long"))),
        ("counts for the loss", data.get("loss_on")),
        ("prompt style", data.get("prompt_style")),
        *_overlap(tuned),
    )


def _overlap(tuned: Tuned) -> Iterator[tuple[str, str]]:
    found = _recorded(tuned, "train_test_overlap")
    if found is None:
        yield "overlap with benchmarks", "not looked for"
        return
    fate = "left out" if found["left_out"] else "trained on all the same"
    for name, part in found["benchmarks"].items():
        counts = f"{part['documents']:,} of {found['documents']:,} documents overlap {part['problems']:,} problems"
        yield f"overlap with {name}", f"{counts}, {fate}" if part["documents"] else f"none of {found['documents']:,} documents"


def _training(tuned: Tuned) -> Iterator[str]:
    train = tuned.train
    if "steps" not in train:
        return
    held = train.get("held_out") or {}
    share = f"{format_small_percent(train['trainable_share'])} ({train['trainable_parameters']:,} of {train['total_parameters']:,})"
    provenance = _recorded(tuned, "provenance") or {}
    machine = train.get("hardware") or provenance.get("hardware") or {}
    versions = train.get("versions") or provenance.get("versions") or {}
    yield "## Training\n"
    yield from _table(
        ("method", tuned.method),
        ("parameters trained", share),
        ("steps", _count(train.get("steps"))),
        ("text tokens seen", _count(train.get("tokens"))),
        ("of these counted for the loss", _count(train.get("supervised_tokens"))),
        ("learning rate (peak)", train.get("learning_rate")),
        ("training loss, first and last step", _both(train.get("first_loss"), train.get("last_loss"))),
        ("validation loss before and after, nats per token", _both(*held.get("loss", (None, None)))),
        ("validation bits per byte before and after", _both(*held.get("bits_per_byte", (None, None)))),
        ("validation examples", _count(held.get("examples"))),
        ("precision, packing", ", ".join(filter(None, (train.get("precision"), train.get("packing"))))),
        ("time", format_seconds(train["seconds"]) if train.get("seconds") else None),
        ("peak memory", format_bytes(train["peak_memory_bytes"]) if train.get("peak_memory_bytes") else None),
        ("hardware", ", ".join(f"{name} {value}" for name, value in machine.items())),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
        ("hash of the base's weights", train.get("model_hash")),
        ("seed", tuned.recipe.get("seed")),
        ("stopped early", train.get("stopped")),
    )


def _scores(tuned: Tuned) -> Iterator[str]:
    if not tuned.results:
        return
    yield "## Scores"
    for result in tuned.results:
        for name, found in result["benchmarks"].items():
            yield f"\n**{name}**: {_conditions(found)}\n"
            yield "| metric | score | 95% interval |\n|---|---|---|"
            yield from _score_rows(found)


def _score_rows(found: Json) -> Iterator[str]:
    for k, share in found.get("pass_at_k", {}).items():
        low, high = found["pass_at_k_ci95"][k]
        yield f"| pass@{k} | {100 * share:.1f}% | {100 * low:.1f} to {100 * high:.1f} |"
    for metric, value in found.get("metrics", {}).items():
        if value is not None:
            yield f"| {metric} | {100 * value:.1f} | |"


def _conditions(found: Json) -> str:
    """A score without these is no score."""
    written = found.get("generation", {})
    decoding = written.get("decoding") or {}
    temperature = decoding.get("temperature")
    how = None if temperature is None else "greedy" if temperature == 0 else f"temperature {temperature}, top_p {decoding.get('top_p')}"
    parts = (
        f"{found['num_problems']} problems, {found['num_samples']} samples", how,
        f"at most {decoding['max_new_tokens']} new tokens" if "max_new_tokens" in decoding else None,
        f"prompt style {written['prompt_style']}" if written.get("prompt_style") else None,
        f"batches of {written['batch_size']}" if written.get("batch_size") else None,
        written.get("precision"), f"sandbox {found['sandbox_tier']}" if found.get("sandbox_tier") else None,
    )  # fmt: skip
    return "; ".join(part for part in parts if part)


def _gates(tuned: Tuned) -> Iterator[str]:
    if tuned.gates:
        yield "## Gates\n\nWhat was checked of the run itself; a gate that is not `ok` has its cause.\n"
        yield "| gate | level | cause |\n|---|---|---|"
        yield from (f"| {gate.name} | {gate.level} | {gate.message if gate.level != 'ok' else ''} |" for gate in tuned.gates)


def _recipe(tuned: Tuned) -> Iterator[str]:
    if tuned.recipe:
        yield "## Recipe\n"
        kept = {key: _public(value) for key, value in tuned.recipe.items() if key not in _KEPT_OUT}
        yield from _code("yaml", yaml.safe_dump(kept, sort_keys=False).strip())


def _limits(tuned: Tuned, whole: bool) -> Iterator[str]:
    yield "## Limits\n"
    yield "Code that a model writes may be wrong or do harm: run it in a sandbox. What holds for the base holds here, its licence too."
    if not tuned.results:
        yield "No scores were recorded with this run."
    if not whole and tuned.folder.joinpath(ADAPTER_CONFIG).exists():
        yield "The adapter answers sensibly on the base model named above alone."


def _recorded(tuned: Tuned, key: str) -> Json | None:
    """What the training has under a key, else the first result that has it."""
    return next((found[key] for found in (tuned.train, *tuned.results) if found.get(key)), None)


def _prompt(tuned: Tuned) -> str:
    """What the model is given for a question, where its style needs no tokenizer to say."""
    try:
        template = make_template(str(tuned.recipe["data"]["prompt_style"]))
        return template.prompt(Problem("question", instruction="Write a function that reverses a string."))
    except (KeyError, UserError):
        return ""


def _table(*rows: tuple[str, object]) -> Iterator[str]:
    yield "| | |\n|---|---|"
    yield from (f"| {label} | {value} |" for label, value in rows if value not in (None, ""))


def _code(language: str, *lines: str) -> Iterable[str]:
    return [f"```{language}", *lines, "```", ""]


def _both(before: float | None, after: float | None) -> str | None:
    return None if before is None or after is None else f"{before:.3f}, {after:.3f}"


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _public(value: Any) -> Any:
    """A value of a recipe without the folders of the author's machine."""
    if isinstance(value, dict):
        return {key: _public(inner) for key, inner in value.items()}
    return _short(value) if isinstance(value, str) and "\n" not in value else value


def _short(name: object) -> str:
    """A name as it is, of a folder on the author's machine its last part alone."""
    text = str(name)
    return Path(text).name if text.startswith(("/", "~", ".")) else text
