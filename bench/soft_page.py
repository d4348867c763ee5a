"""The study of packing under soft prompts: tables and page (`docs/studies/packing.md`) and its figure, from what `soft_prompts` kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.environment import say
from bench.soft_parts import EXACT, METHODS, PADDED, SYSTEMS
from bench.table import relative
from codetune.errors import UserError
from codetune.runs import write_json

STUDIES = Path(__file__).resolve().parent.parent / "docs" / "studies"
LAST = 5  # steps whose mean is a run's last training loss
NONE = "-"
WHY = """
## Why, from the sources of TRL 1.16.0, PEFT 0.21.2 and transformers 5.23.0

- **TRL's packing** joins a batch's rows into one long row with positions that restart in each example, and gives no mask.
- **Prompt-tuning**: PEFT warns and drops the positions (`_adjust_prompt_learning_kwargs`). So they run through the whole batch, documents
  see each other, and a batch longer than GPT-2's positions looks up an embedding that is not there. The virtual tokens stand once before
  the whole batch, so only its first example has them where it will have them when it answers.
- **Prefix-tuning**: PEFT keeps the positions, moved by the number of virtual tokens. But transformers takes restarting positions for
  separate documents only where there is no mask *and no cache* (`create_causal_mask` asks for `past_key_values is None`), and a prefix is a
  cache: documents see each other without a word.
- **Exactly** ([exactness.md](../exactness.md)): the virtual tokens once a row, each document seeing them and itself, at the positions that
  it would have alone. Padded batches compute the same at the cost of padding, and of the virtual tokens once an example.
"""
TRAINED = ("trained by", "loss it says", "held-out loss", "CPU s", "useful tokens per CPU s", "supervised tokens")
ANSWERED = ("trained by", "pass rate", "BLEU", "syntax valid", "PEFT's: pass rate", "BLEU", "syntax valid", "same answers")


def write(results: Path) -> None:
    """Write page, figure and the results beside them. Raises UserError where nothing was measured, or not all."""
    if not results.exists():
        raise UserError(f"no {results}: run `python -m bench soft-prompts` first")
    record: dict[str, Any] = json.loads(results.read_text())
    pairs = [(method, one.name) for method in METHODS for one in SYSTEMS]
    if missing := [f"{method} by {name}" for method, name in pairs if not runs_of(record, method, name)]:
        raise UserError(f"{results} has no {missing[0]}: run `python -m bench soft-prompts` to its end first")
    STUDIES.mkdir(parents=True, exist_ok=True)
    from bench.soft_figure import draw

    draw(record, STUDIES / "packing")
    write_json(STUDIES / "packing.json", record)
    (STUDIES / "packing.md").write_text(page(record), encoding="utf-8")
    say(f"wrote {STUDIES / 'packing.md'}")


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    return "\n".join([_head(record), tables(record), "", *_meaning(record), WHY, *_conditions(record)]) + "\n"


def runs_of(record: dict[str, Any], method: str, system: str) -> list[dict[str, Any]]:
    """A system's trainings with a method, seed by seed, with their answers where there are any."""
    found = [{"key": key, **run} for key, run in record["runs"].items() if run["method"] == method and run["system"]["name"] == system]
    return [run | {"answers": record["answers"].get(run["key"], {})} for run in sorted(found, key=lambda run: int(run["seed"]))]


def tables(record: dict[str, Any]) -> str:
    """What was tried of the peers' defaults, and for each method what training and answers came to."""
    lines = _attempts(record)
    for method in METHODS:
        systems = [one.name for one in SYSTEMS if runs_of(record, method, one.name)]
        lines += ["", f"## {method.replace('_', '-').capitalize()}", "", *_head_of(TRAINED)]
        lines += [_trained(name, runs_of(record, method, name)) for name in systems]
        asked = f"Answers to {record['settings']['problems']} problems of `{record['settings']['benchmark']}`:"
        lines += ["", asked, "", *_head_of(ANSWERED)]
        if "base" in record["answers"]:
            lines.append(_answered("nothing (the base model)", [record["answers"]["base"]]))
        lines += [_answered(name, [run["answers"] for run in runs_of(record, method, name)]) for name in systems]
        lines += _agreement(record, method)
    return "\n".join(lines)


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """The mean, and the single values where there are several.

    >>> spread([1.0, 2.0], "{:.1f}".format)
    '1.5 (1.0, 2.0)'
    """
    if not values:
        return NONE
    mean = form(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({', '.join(map(form, values))})"


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The largest relative difference of two trainings' losses over their steps; None where they have not the same number.

    >>> largest_difference([2.0, 1.0], [2.0, 1.5]), largest_difference([1.0], [1.0, 1.0])
    (0.5, None)
    """
    if len(ours) != len(theirs):
        return None
    return max(relative(their, our) for our, their in zip(ours, theirs, strict=True))


def last_loss(losses: Sequence[float]) -> float:
    """The mean of the last steps' losses: one step's depends on its pairs."""
    return sum(losses[-LAST:]) / len(losses[-LAST:])


def _attempts(record: dict[str, Any]) -> list[str]:
    if not record["attempts"]:
        return []
    lines = ["## TRL+PEFT as it comes", "", *_head_of(("method", "setting", "batch", "what happens in three steps"))]
    for attempt in record["attempts"].values():
        losses = ", ".join(f"{loss:.3f}" for loss in attempt.get("losses", ()))
        said = f"**{attempt['failed']}**" if "failed" in attempt else f"runs; losses {losses}"
        lines.append(f"| {attempt['method']} | {attempt['system']['name']} | {attempt['batch']} | {said} |")
    return lines


def _head_of(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{'|'.join(['---', *['---:'] * (len(names) - 1)])}|"]


def _trained(name: str, runs: Sequence[dict[str, Any]]) -> str:
    done = [run for run in runs if "failed" not in run]
    if not done:
        return f"| {name} | failed: {runs[0]['failed']} | - | - | - | - |"
    cells = [
        spread([last_loss(run["losses"]) for run in done], "{:.3f}".format),
        spread([run["answers"]["held_out_loss"] for run in done if run["answers"]], "{:.4f}".format),
        spread([run["cpu_seconds"] for run in done], "{:.1f}".format),
        spread([run["timed_tokens"] / run["cpu_seconds"] for run in done], "{:,.0f}".format),
        spread(sorted({float(run["supervised_tokens"]) for run in done}), "{:,.0f}".format),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _answered(name: str, answers: Sequence[dict[str, Any]]) -> str:
    found, cells = [each for each in answers if each], list[str]()
    for engine in ("own", "peft"):
        scores = [each[engine] for each in found if engine in each]
        failed = [one["failed"] for one in scores if "failed" in one]
        for metric in ("pass", "bleu", "syntax_valid"):
            cells.append(f"failed: {failed[0]}" if failed else spread([100 * one[metric] for one in scores], "{:.1f}".format))
    cells.append(spread([100 * each["same_answers"] for each in found if "same_answers" in each], "{:.0f}%".format))
    return f"| {name} | {' | '.join(cells)} |"


def _agreement(record: dict[str, Any], method: str) -> list[str]:
    """Whether padded and packed exactly are one training."""
    pairs = zip(runs_of(record, method, EXACT.name), runs_of(record, method, PADDED.name), strict=False)
    found = [largest_difference(ours["losses"], theirs["losses"]) for ours, theirs in pairs if "losses" in ours and "losses" in theirs]
    known = [each for each in found if each is not None]
    if not known:
        return []
    return ["", f"{PADDED.name} and {EXACT.name}: the loss of each step, of the same {record['settings']['pairs_per_step']} pairs, agrees "
            f"to {max(known):.1e} relatively over all {record['settings']['steps']} steps and {len(known)} seeds."]  # fmt: skip


def _head(record: dict[str, Any]) -> str:
    settings, base = record["settings"], record["base"]
    return f"""\
# Packing under soft prompts: exact here, wrong or padded elsewhere

*Generated by `python -m bench soft-prompts --write-docs`; edit `bench/soft_page.py`, not this.*

The question: what happens to prompt- and prefix-tuning when short examples are packed into rows? Published comparisons of tuning methods
packed theirs. One small GPT-2 ({base['parameters'] / 1e6:.1f}M parameters, {base['positions']} positions) is tuned with
{settings['virtual_tokens']} virtual tokens by TRL+PEFT and by codetune: the same weights, the same start, the same pairs of `basics` in the
same order, AdamW at {settings['learning_rates'][METHODS[0]]:g}, {settings['steps']} steps of about {settings['pairs_per_step']} pairs,
float32, one thread.

The command (what is measured is kept in `runs/bench-soft-prompts`; results are in [packing.json](packing.json)):

    python -m bench soft-prompts && python -m bench soft-prompts --write-docs

![Training loss against CPU seconds](packing.svg)
"""


def _meaning(record: dict[str, Any]) -> list[str]:
    lines = ["## What it means", ""]
    for method in METHODS:
        name = method.replace("_", "-").capitalize()
        exact, others = _mean(record, method, EXACT.name), {one.name: _mean(record, method, one.name) for one in SYSTEMS[1:]}
        for other, (loss, speed) in others.items():
            if loss is None or speed is None or exact[0] is None or exact[1] is None:
                lines.append(f"- {name}, {other}: no training to compare.")
                continue
            change = loss - exact[0]
            lines.append(
                f"- {name}, {other}: held-out loss {change:+.4f} against packed exactly; codetune packed exactly learns from "
                f"{exact[1] / speed:.2f} times its useful tokens per CPU second."
            )
    return lines


def _mean(record: dict[str, Any], method: str, system: str) -> tuple[float | None, float | None]:
    """Held-out loss, and useful tokens per CPU second."""
    done = [run for run in runs_of(record, method, system) if "failed" not in run and run["answers"]]
    if not done:
        return None, None
    speed = sum(run["timed_tokens"] for run in done) / sum(run["cpu_seconds"] for run in done)
    return sum(run["answers"]["held_out_loss"] for run in done) / len(done), speed


def _conditions(record: dict[str, Any]) -> list[str]:
    settings, base = record["settings"], record["base"]
    loads = [run["load"] for run in record["runs"].values()]
    versions = ", ".join(f"{name} {version}" for name, version in (record["versions"]["peers"] | record["versions"]["codetune"]).items())
    return [
        "## How it was measured", "",
        f"- Machine: {record['machine']['processor']}, {record['machine']['cores']} cores, shared with other work (load {min(loads):.1f} "
        f"to {max(loads):.1f}): so times are CPU seconds of one thread, systems took turns, and what busy neighbours cost in caches is "
        "still in them. They are from the end of the first step to the end of the last.",
        f"- Versions: {versions}.",
        f"- The base: GPT-2's architecture with width {base['width']}, {base['layers']} layers, {base['heads']} heads, vocabulary "
        f"{base['vocabulary']:,}, trained by codetune on {base['tokens']:,} tokens of half of the pairs of `basics` in the styles "
        f"{' and '.join(f'`{style}`' for style in base['styles'])} (loss {base['first_loss']:.2f} to {base['last_loss']:.2f}), in rows as "
        "long as its positions. Soft prompts learn the style `instruction` from the other half. It is a tiny model: the mechanics carry "
        "over to any GPT-2, the size of the differences need not.",
        f"- Rows hold {settings['row_tokens']} text tokens, so that virtual tokens and text fit the positions. Passes: codetune 4 rows, "
        "TRL padded 8 examples, TRL packed 1 row. codetune packs each step's own pairs, TRL the whole data set: its steps hold "
        "other pairs, so single losses can be compared between padded and packed exactly alone.",
        f"- Held-out loss is that of {settings['held_out']} validation pairs, packed exactly, by the same code for all; adapters of TRL "
        "are read as PEFT saved them. `Loss it says` is the mean of the last five training steps in each system's own computation. Pass "
        "rate, BLEU and syntax are in percent; first of answers by codetune's engine, then of those by `PeftModel.generate` in batches of "
        "20 padded on the left; `same answers` is the share that both engines write alike.",
        "- The mean comes first, the seeds follow in parentheses. Two seeds tell no small differences apart, and one problem is "
        f"{100 / settings['problems']:.1f} points of pass rate.",
        "- `TRL, packed` counts its useful tokens as the share of its steps that was timed.",
    ]  # fmt: skip
