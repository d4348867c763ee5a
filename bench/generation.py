"""Answers by several adapters of one base: codetune's batches against transformers' `generate`, one adapter after the other (G11).

    python -m bench generation [--tiny] [--study runs/quickstart] [--prompts 200] [--out results.json]

Each adapter answers the same prompts of `basics-known` and `basics-unseen`, greedily, in float32, until EOS or `--max-new-tokens`. The
peer is `PeftModel.generate` in batches in the prompts' order, padded on the left, in the fastest of a few batch sizes, which is looked for
first. codetune answers with all adapters in one batch, and besides with one after the other. A process each, in turns; the least counts.
Adapters are those of a study, or are made here by a short training.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import environment, results
from bench.environment import say
from bench.turns import measured
from codetune.errors import UserError
from codetune.records import Json

WHAT = "Answers by several adapters, tokens per CPU second, against transformers' generate one adapter after the other (G11)."
HOW_LONG = "About ten minutes; --tiny: one."
METHODS = ("lora", "prefix_tuning", "prompt_tuning")
EXACT = "lora"  # where the peer's padded batches are right: the texts must be the same
NOT_KEPT = ("texts",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="codetune-base", help="a model by name or folder")
    parser.add_argument("--study", type=Path, help="take the adapters of this study (cells/METHOD-*/adapter), as runs/quickstart")
    parser.add_argument("--train-tokens", type=int, default=40_000, help="without --study: what each adapter is trained on")
    parser.add_argument("--prompts", type=int, default=200, help="that each adapter answers, 600 at most")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=100, help="codetune's")
    parser.add_argument("--peer-batch-sizes", default="16,32,100", help="the fastest of these is the peer's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="few prompts, short answers: to see that it works")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write the JSON. Raises UserError for what is not there, and where LoRA's texts are not the peer's."""
    if options.tiny:
        options.prompts, options.max_new_tokens, options.repeats, options.peer_batch_sizes = 12, 12, 1, "12"
        options.train_tokens = min(options.train_tokens, 4_000)
    peer = environment.peers_python()
    with tempfile.TemporaryDirectory() as scratch:
        adapters = of_study(options.study) if options.study else made(options, Path(scratch))
        found = compare(Job(options, adapters, Path(scratch)), peer)
    print(report(found))
    if options.out:
        results.write(options.out, found)


class Job:
    """What both sides are given, and how a side is run once."""

    def __init__(self, options: argparse.Namespace, adapters: Mapping[str, Path], scratch: Path) -> None:
        from codetune.models.names import resolve  # here, so that listing comes without torch

        self.options, self.adapters, self.scratch = options, adapters, scratch
        self.texts = prompts(options.prompts)
        self.ids = encoded(options.model, self.texts)
        self.base = {"model": str(resolve(options.model)), "max_new_tokens": options.max_new_tokens, "threads": options.threads}
        self.loads: list[float] = []

    def peer(self, python: Path, batch_size: int, adapters: Sequence[str], count: int) -> dict[str, Any]:
        """By adapter."""
        return self._measured(python, "bench.peer_generate", {"prompts": self.ids[:count], "batch_size": batch_size}, adapters)

    def ours(self, together: bool) -> dict[str, Any]:
        job = {"prompts": self.texts, "batch_size": self.options.batch_size, "together": together, "model": self.options.model}
        return self._measured(Path(sys.executable), "bench.ours_generate", job, list(self.adapters))

    def _measured(self, python: Path, module: str, job: Json, adapters: Sequence[str]) -> dict[str, Any]:
        path = self.scratch / "job.json"
        path.write_text(json.dumps(self.base | job | {"adapters": {name: str(self.adapters[name]) for name in adapters}}))
        self.loads.append(environment.load_average())
        return measured(python, module, str(path))


def compare(job: Job, peer: Path) -> Json:
    """Both sides in turns, and the record."""
    options, names = job.options, list(job.adapters)
    sizes = [int(size) for size in options.peer_batch_sizes.split(",")]
    size = fastest(job, peer, sizes) if len(sizes) > 1 else sizes[0]
    theirs, together, single = list[Json](), list[Json](), list[Json]()
    for repeat in range(options.repeats):
        together.append(job.ours(together=True))
        theirs.append(job.peer(peer, size, names, len(job.ids)))
        single.append(job.ours(together=False))
        ours = f"{together[-1]['cpu_seconds']:.1f} CPU s in one batch, {single[-1]['cpu_seconds']:.1f} one after the other"
        say(f"run {repeat + 1} of {options.repeats}: codetune {ours}")
    failed = {name: each["failed"] for name, each in theirs[0].items() if "failed" in each}
    same = agreement(job, together[0], theirs[0])
    alone = sum(a == b for name in names for a, b in zip(together[0]["texts"][name], single[0]["texts"][name], strict=True))
    rows = make_rows(job, together, single, theirs, same, size) if len(failed) < len(names) else []
    versions = {name: environment_version(name) for name in ("torch", "transformers", "peft")}
    return results.record(
        "generation", rows, job.loads, versions, adapters=names, prompts=len(job.texts), peer_batch_size=size, peer_failed=failed,
        same_text=same, same_alone=alone, answers=len(names) * len(job.texts), threads=options.threads, texts=together[0]["texts"],
    )  # fmt: skip


def fastest(job: Job, peer: Path, sizes: Sequence[int]) -> int:
    """The peer's batch size that takes the fewest CPU seconds for LoRA's answers to as many prompts as the largest has."""
    name = EXACT if EXACT in job.adapters else next(iter(job.adapters))
    taken = {}
    for size in sizes:
        found = job.peer(peer, size, [name], min(len(job.ids), max(sizes)))[name]
        if "failed" in found:
            raise UserError(f"transformers' generate failed with {name}: {found['failed']}")
        taken[size] = found["cpu_seconds"]
        say(f"transformers, batches of {size}: {taken[size]:.1f} CPU s")
    return min(taken, key=lambda size: taken[size])


def make_rows(
    job: Job, together: Sequence[Json], single: Sequence[Json], theirs: Sequence[Json], same: Mapping[str, int], size: int
) -> list[Json]:
    """Tokens per CPU and wall second: each side counts those that it wrote, EOS included, the peer with the adapters that it can run."""
    running = [name for name, each in theirs[0].items() if "failed" not in each]
    tokens = sum(len(ids) for name in running for ids in theirs[0][name]["ids"])
    peer = {
        unit: tokens / min(sum(run[name][unit] for name in running) for run in theirs) for unit in ("cpu_seconds", "seconds")
    }
    said = ", ".join(f"{name} {count} of {len(job.texts)}" for name, count in same.items())
    what = f"{len(job.adapters) * len(job.texts)} answers by {len(job.adapters)} adapters"
    against = f"transformers generate, one adapter after the other, batches of {size}"
    checked = f"same text in {said}; PEFT's padded batches are right for LoRA alone"
    rows = []
    for how, runs, aimed in (("in one batch", together, ("G11", 0)), ("one adapter after the other", single, None)):
        for unit, word in (("cpu_seconds", "CPU second"), ("seconds", "second, wall clock")):
            ours = runs[0]["tokens"] / min(run[unit] for run in runs)
            own = aimed if unit == "cpu_seconds" else None
            rows.append(results.compared(f"{what}, codetune {how}", against, ours, peer[unit], f"tokens per {word}", checked, own))
    return rows


def agreement(job: Job, ours: Json, theirs: Json) -> dict[str, int]:
    """By adapter how many texts are equal. Raises UserError where LoRA's differ by more than ties could explain."""
    from codetune.generate.engine import written
    from codetune.generate.request import Request
    from codetune.models.load import load_tokenizer

    tokenizer, found = load_tokenizer(job.options.model), {}
    for name, each in theirs.items():
        if "failed" in each:
            continue
        texts = [
            written(Request("", ""), 0, prompt, ids, "eos" if ids[-1:] == [tokenizer.eos_id] else "length", tokenizer).text
            for prompt, ids in zip(job.ids, each["ids"], strict=True)
        ]
        found[name] = sum(a == b for a, b in zip(texts, ours["texts"][name], strict=True))
    if EXACT in found and found[EXACT] < 0.98 * len(job.texts):
        raise UserError(f"{EXACT}: {found[EXACT]} of {len(job.texts)} texts are transformers': the two do not compute the same")
    return found


def report(found: Json) -> str:
    """The table, and what was compared."""
    lines = ["| codetune | against | codetune | peer | unit | ratio |", "| --- | --- | ---: | ---: | --- | ---: |"]
    lines += [
        f"| {row['what']} | {row['against']} | {row['ours']:,.0f} | {row['peer']:,.0f} | {row['unit']} | {row['ratio']:.2f}x |"
        for row in found["rows"]
    ]
    lines.append("")
    same = ", ".join(f"{name} {count}/{found['prompts']}" for name, count in found["same_text"].items())
    lines.append(f"Same text as the peer's: {same}")
    lines.append(f"Same text in one batch as one adapter after the other: {found['same_alone']}/{found['answers']}")
    lines += [f"The peer failed with {name}: {why}" for name, why in found["peer_failed"].items()]
    return "\n".join(lines)


def prompts(count: int) -> list[str]:
    """Problems in codetune's instruction style, from both test sets in turn."""
    from codetune.data import benchmarks
    from codetune.prompts.template import make_template

    sets = [benchmarks.load(name).problems for name in ("basics-known", "basics-unseen")]
    template = make_template("instruction")
    texts = [template.render(problem).prompt for pair in zip(*sets, strict=False) for problem in pair]
    if not 0 < count <= len(texts):
        raise UserError(f"--prompts {count}: there are {len(texts)}; ask for 1 to {len(texts)}")
    return texts[:count]


def encoded(model: str, texts: Sequence[str]) -> list[list[int]]:
    """Their token ids."""
    from codetune.data.encode import encode_prompt
    from codetune.models.load import load_tokenizer

    tokenizer = load_tokenizer(model)
    return [encode_prompt(text, tokenizer) for text in texts]


def of_study(study: Path) -> dict[str, Path]:
    """The study's first adapter of each method. Raises UserError where it has none of them."""
    found = {method: path for method in METHODS for path in sorted(study.glob(f"cells/{method}-*/adapter"), reverse=True)}
    if not found:
        raise UserError(f"--study {study} has no adapter of {', '.join(METHODS)} (cells/METHOD-*/adapter): leave it out, and some are made")
    return found


def made(options: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Adapters trained for some seconds on basics."""
    from codetune.config import TrainRecipe, validate
    from codetune.train.finetune import finetune

    found = {}
    for method in METHODS:
        say(f"training {method} on {options.train_tokens:,} tokens")
        tree = {
            "name": method, "model": options.model, "data": {"source": "basics", "prompt_style": "instruction"}, "method": {"name": method},
            "train": {"train_tokens": options.train_tokens, "batch_tokens": 512, "max_seq_len": 256, "validations": 0},
        }  # fmt: skip
        finetune(validate(tree, TrainRecipe, "bench generation"), folder / method)
        found[method] = folder / method / "adapter"
    return found


def environment_version(name: str) -> str:
    from importlib.metadata import version

    return version(name)
