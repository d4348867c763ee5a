"""From a recipe to the files of a model to ship, step by step, each found done by what it wrote: stopped, the same command goes on.

    python -m codetune.pretraining recipes/base-model-gpu.yaml --time-limit 540
    python -m codetune.pretraining recipes/base-model-gpu.yaml --until prepared
    python -m codetune.pretraining recipes/base-model-gpu.yaml --no-ladder --set train.train_tokens=100000000

The corpus and its tokens; the machine's matrix rate; the ladder; the run with the rung that won; the model with its score card, so far as
it is measured where the corpus is (bits per byte, memorisation); all that goes home, in pieces. It is all in the run's folder, where
`make.json` says what was found. The limit is for training: a step that is under way ends, a checkpoint is saved, and a line says so.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from codetune.config import TrainRecipe, load_recipe, recipe_path
from codetune.data.base_corpus import prepare_corpus
from codetune.errors import TERMINATED, Terminated, UserError, terminate_in_order
from codetune.models.machine import device, hardware, versions
from codetune.models.names import SHIPPED
from codetune.models.outline import load_outline, outline_of
from codetune.pretraining import ladder, memorised, pieces, score_card
from codetune.pretraining.ship import SCORES, TRAINING, ship, write_card
from codetune.records import Json
from codetune.runs import read_json, write_json
from codetune.train.finetune import RESULT, finetune
from codetune.train.resume import Progress

RECORD = "make.json"
MOST_EPOCHS = 16  # beyond which reading the same again gives nearly nothing (Muennighoff et al. 2023, arXiv 2305.16264)
STEPS = ("prepared", "ladder", "trained", "shipped")


@dataclass(slots=True)
class Making:
    """The work on one recipe in one folder; `record` is kept after every step."""

    recipe: TrainRecipe
    folder: Path
    options: argparse.Namespace
    record: Json
    began: float = field(default_factory=time.monotonic)

    def keep(self, **found: object) -> None:
        self.record |= found
        write_json(self.folder / RECORD, self.record)

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self.began:5.0f} s  {line}", file=sys.stderr, flush=True)

    def watch(self, name: str) -> Callable[[Progress, int], None]:
        """Tells of a training ten times, and ends it in order when the time is up."""

        def told(progress: Progress, steps: int) -> None:
            if progress.step * 10 // steps > (progress.step - 1) * 10 // steps:
                speed = progress.tokens / progress.seconds if progress.seconds else 0.0
                self.say(f"{name}: step {progress.step} of {steps}, loss {progress.last_loss or 0:.3f}, {speed:,.0f} tokens/s")
            limit = self.options.time_limit
            if limit and time.monotonic() - self.began > limit and progress.step < steps:
                signal.raise_signal(signal.SIGTERM)  # the loop saves a checkpoint before it hands that on

        return told

    def out_of_time(self) -> bool:
        return bool(self.options.time_limit) and time.monotonic() - self.began > self.options.time_limit


def make(making: Making) -> None:
    """All steps up to the one that is asked for. Raises Terminated where the time is up, UserError for what cannot work."""
    options, recipe = making.options, making.recipe
    rungs = [] if options.no_ladder else [*ladder.RUNGS[: options.rungs], *([ladder.VOCABULARY] if options.vocabulary else [])]
    for one in {str(ladder.data_of(rung.of(recipe), recipe).data.path): rung.of(recipe) for rung in [ladder.RUNGS[0], *rungs]}.values():
        making.say(prepare_corpus(one, making.say, len(os.sched_getaffinity(0))))
    if "matrix_rate" not in making.record:
        where = device(recipe.device)
        making.keep(matrix_rate=matrix_rate(where), device=device_name(where), versions=versions())
    if options.until == "prepared":
        return
    climb(making, rungs)
    if options.until == "ladder":
        return
    chosen = settle(making, rungs)
    if not (making.folder / RESULT).exists():
        if making.out_of_time():
            raise Terminated
        making.say(f"training {chosen.architecture} at {chosen.method.learning_rate:g} on {chosen.train.train_tokens:,} tokens")
    summary = finetune(chosen, making.folder, making.watch("run"), making.say)
    if summary["stopped"]:
        raise UserError(f"{making.folder}: training ended early ({summary['stopped']}); lower method.learning_rate, and give another --out")
    share = summary["tokens_per_s"] * operations_a_token(chosen) / making.record["matrix_rate"]
    making.keep(tokens_per_s=summary["tokens_per_s"], share_of_matrix_rate=share)
    making.say(f"{summary['tokens_per_s']:,.0f} tokens/s, {share:.1%} of the matrix rate; {summary['held_out']}")
    if options.until != "trained":
        finish(making, chosen)


def climb(making: Making, rungs: Sequence[ladder.Rung]) -> None:
    """Train every rung that the record does not have. Raises Terminated where the time is up before the last."""
    done: dict[str, Json] = making.record.setdefault("ladder", {})
    for rung in rungs:
        if rung.name in done:
            continue
        if making.out_of_time():
            raise Terminated
        folder = making.folder / "ladder" / rung.name
        found = finetune(rung.trial(making.recipe, folder, making.options.rung_tokens), folder, making.watch(rung.name), making.say)
        if found["stopped"] or not found["held_out"]:
            done[rung.name] = {"failed": found["stopped"] or "no held-out loss", "differs": rung_words(rung)}
            making.keep()
            making.say(f"{rung.name}: failed, {done[rung.name]['failed']}")
            continue
        after = found["held_out"]["bits_per_byte"][1]
        kept = {"bits_per_byte": after, "parameters": found["total_parameters"], "tokens": found["tokens"], "loss": found["last_val_loss"]}
        done[rung.name] = kept | {"tokens_per_s": found["tokens_per_s"], "seconds": found["seconds"], "differs": rung_words(rung)}
        making.keep()
        speed = f"{found['total_parameters']:,} parameters, {found['tokens_per_s']:,.0f} tokens/s"
        making.say(f"{rung.name}: {after:.3f} bits per byte, {speed}")


def rung_words(rung: ladder.Rung) -> Json:
    return dict(rung.shape) | {"rate": rung.rate}


def settle(making: Making, rungs: Sequence[ladder.Rung]) -> TrainRecipe:
    """The recipe of the run: the rung that won, and as many tokens as the seconds given allow; once settled it stays."""
    if "chosen" not in making.record:
        name = making.options.rung or ladder.best(making.record.get("ladder", {})) or ladder.RUNGS[0].name
        tokens = making.recipe.train.train_tokens
        if speed := making.record.get("ladder", {}).get(name, {}).get("tokens_per_s"):
            tokens = min(tokens, int(making.options.train_seconds * speed) or tokens)
        making.keep(chosen={"rung": name, "train_tokens": tokens})
    found = making.record["chosen"]
    every = {rung.name: rung for rung in (*ladder.RUNGS, ladder.VOCABULARY)}
    if found["rung"] not in every:
        raise UserError(f"no rung {found['rung']!r}: {', '.join(every)}")
    chosen = every[found["rung"]].of(making.recipe)
    assert chosen.data.path is not None
    most = MOST_EPOCHS * int(read_json(chosen.data.path / "manifest.json")["train_tokens"])
    return chosen.model_copy(update={"train": chosen.train.changed({"train_tokens": min(found["train_tokens"], most)})})


def finish(making: Making, chosen: TrainRecipe) -> None:
    """The model as it is shipped, measured where its corpus is, and the pieces."""
    target, record = making.folder / "shipped", making.record
    assert chosen.data.path is not None
    if not (target / TRAINING).exists():
        ship(making.folder, target, record, chosen.data.path)
    scores = making.folder / SCORES
    told = ["--data", str(chosen.data.path), "--prompts", str(making.options.prompts), "--out", str(scores)]
    making.say("measuring bits per byte and memorisation, of it and of the model it replaces")
    print(score_card.make(score_card.parsed([str(target), "--against", str(SHIPPED["codetune-base"]), *told])))
    (target / SCORES).write_bytes(scores.read_bytes())
    write_card(target)
    for name in (RECORD, "metrics.jsonl"):
        (target / name).write_bytes((making.folder / name).read_bytes())
    made = pieces.cut(target, making.folder / "pieces")
    making.say(f"{len(made) - 1} pieces and their list in {making.folder / 'pieces'}")


def matrix_rate(where: str, size: int = 8192) -> float:
    """Operations per second of the fastest square product in bf16; a small one where there is no GPU."""
    size = size if where == "cuda" else 512
    one, other = (torch.randn(size, size, device=where, dtype=torch.bfloat16) for _ in range(2))

    def seconds(times: int = 10) -> float:
        for _ in range(2):
            one @ other
        if where == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(times):
            one @ other
        if where == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / times

    return 2 * size**3 / min(seconds() for _ in range(5))


def operations_a_token(recipe: TrainRecipe) -> float:
    """Operations of products in a training step, two for a multiplication with its addition: each matrix three times, and half of a full
    row's pairs in attention (documents are shorter than rows, so that is the most it can be)."""
    model = load_outline(recipe)
    outline, family = outline_of(model.model), model.family
    matrices = outline.linear_parameters + family.vocab_size * family.hidden_size
    attention = 4 * recipe.train.max_seq_len / 2 * outline.heads * family.head_dim * family.num_layers
    return 3 * (2 * matrices + attention)


def device_name(where: str) -> str:
    found = hardware()
    return str(found["gpu"] if where == "cuda" else found["cpu"])


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m codetune.pretraining", description="A recipe to the files of a model to ship.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--time-limit", type=float, default=0, metavar="S", help="seconds of this call, 0: none; the same command goes on")
    parser.add_argument("--until", choices=STEPS, default="shipped", help="the last step to take")
    parser.add_argument("--no-ladder", action="store_true", help="train the recipe as it is")
    parser.add_argument("--rungs", type=int, default=len(ladder.RUNGS), help="of the ladder, the first so many")
    parser.add_argument("--rung-tokens", type=int, default=ladder.TOKENS, help="tokens that each rung sees")
    parser.add_argument("--vocabulary", action="store_true", help="one rung more, whose vocabulary needs a corpus of its own")
    parser.add_argument("--rung", default="", help="train this one, whatever the ladder says")
    parser.add_argument("--train-seconds", type=float, default=0, help="the run's budget in seconds at the rung's speed, if that is less")
    parser.add_argument("--prompts", type=int, default=memorised.PROMPTS, help="of the memorisation")
    parser.add_argument("--out", type=Path, help="the run's folder; default: runs/<name>")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when all is made, 143 where the time was up or SIGTERM came (the same command goes on), 2 for a user's mistake."""
    options = parse(arguments)
    terminate_in_order()
    try:
        recipe = load_recipe(recipe_path(options.recipe), TrainRecipe, options.overrides)
        if recipe.architecture is None or recipe.data.source != "corpus" or recipe.data.path is None:
            needed = "architecture, data.source: corpus and data.path"
            raise UserError(f"{options.recipe} is no recipe of a model from scratch: it needs {needed}")
        folder = options.out or recipe.out or Path("runs") / recipe.name
        record = read_json(folder / RECORD) if (folder / RECORD).exists() else {}
        make(Making(recipe, folder, options, record))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Terminated, KeyboardInterrupt):
        print("stopped in order; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return TERMINATED
    return 0
