"""All that the model card says of quality, measured part by part and kept in one file, beside the same of the model that is replaced.

    python -m codetune.pretraining.score_card codetune/assets/codetune-base --against OLD-MODEL --benchmarks humaneval mbpp
    python -m codetune.pretraining.score_card MODEL --data runs/base-model-gpu/data --study runs/quickstart --out card.json

What the file has of a model (known by a hash of its weights) is not measured again, so the parts may be measured on different machines.
Without `--out` the file is `score_card.json` in the model's folder, whose README is then written anew. What was not measured is not in it.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from codetune.config import DecodingConfig
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.tokenise import collect, cut
from codetune.errors import UserError
from codetune.generate.engine import OwnEngine
from codetune.methods import Adapted
from codetune.models.load import LoadedModel
from codetune.models.open import open_model
from codetune.pretraining.memorised import PROMPTS, CorpusTexts, corpus_texts, memorised
from codetune.pretraining.ship import SCORES, TRAINING, table, write_card
from codetune.records import Json
from codetune.runs import read_json, write_json
from codetune.train.held_out import bits_per_byte, mean_loss

STYLES = {"humaneval": "completion", "mbpp": "incoder"}  # of benchmarks; `instruction` for any other
GREEDY = DecodingConfig(max_new_tokens=256)
SAMPLED = DecodingConfig(temperature=0.8, top_p=0.95, n=10, max_new_tokens=256)
HELD_OUT_TOKENS = 512  # of a piece, in each model's own tokens: both models were trained on rows of as many at least


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured of a model: each part where there is something to measure it on."""

    data: Path | None = None
    study: Path | None = None
    benchmarks: tuple[str, ...] = ()
    limit: int | None = None
    prompts: int = PROMPTS


def measure(model: str, asked: Asked, scores: Json, keep: Callable[[], None], say: Callable[[str], None]) -> Json:
    """Add to `scores` what is asked for and not there; `keep` is called after each part. Returns the scores of this model alone."""
    loaded, adapted = open_model(model)
    mine: Json = scores.setdefault(loaded.model_hash, {"parameters": sum(p.numel() for p in loaded.model.parameters())})

    def part(name: str, made: Callable[[], Json]) -> None:
        if name not in mine:
            say(f"{model}: {name}")
            mine[name] = made()
            keep()

    if asked.data is not None:
        data = asked.data
        part("held_out", lambda: held_out(loaded, adapted, corpus_texts(data, "held_out")))
        part("memorised", lambda: memorised(loaded, adapted, corpus_texts(data), asked.prompts))
    for name in asked.benchmarks:
        label = f"benchmark {name}{f', first {asked.limit}' if asked.limit else ''}"
        part(label, partial(on_benchmark, loaded, adapted, name, asked.limit))
    if asked.study is not None:
        mine["study"] = of_study(asked.study)
        keep()
    return mine


def held_out(loaded: LoadedModel, adapted: Adapted, corpus: CorpusTexts) -> Json:
    """Bits per byte of held-out text, in pieces that are alike for every tokenizer but for where they are cut."""
    encoded = loaded.tokenizer.encode_starts(corpus.texts)
    examples = collect(piece for ids in encoded for piece in cut(ids, HELD_OUT_TOKENS) if len(ids) > 1)
    loss = mean_loss(adapted, loaded.family, examples)
    return {
        "bits_per_byte": bits_per_byte(loss, examples, loaded.tokenizer), "bytes": sum(len(text.encode()) for text in corpus.texts),
        "piece_tokens": HELD_OUT_TOKENS,
    }  # fmt: skip


def on_benchmark(loaded: LoadedModel, adapted: Adapted, name: str, limit: int | None) -> Json:
    """pass@1 of greedy answers, and pass@10 of ten sampled ones each, with everything that they depend on."""
    from codetune.evaluate import answer, score_samples  # with grammars, which a machine that only trains need not have
    from codetune.score.verdicts import open_checker

    whole = load_benchmark(name)
    benchmark = replace(whole, problems=whole.problems[:limit])
    template = loaded.template(STYLES.get(name, "instruction"))
    found: Json = {"sha256": benchmark.sha256, "limit": limit}
    with open_checker() as checker:
        for k, decoding in (("1", GREEDY), ("10", SAMPLED)):
            answers = answer(OwnEngine(loaded, adapted), benchmark, template, decoding)
            scores = score_samples(benchmark, answers.samples, checker, ks=(int(k),), metrics=())
            found |= {"problems": scores.num_problems, "sandbox": scores.sandbox_tier, "prompt_style": template.style}
            found[f"pass@{k}"] = [scores.pass_at_k[k], *scores.pass_at_k_ci95[k]]
            found[f"pass@{k} decoding"] = decoding.model_dump(mode="json")
    return found


def of_study(folder: Path) -> Json:
    """pass@1 by row and benchmark, the mean over seeds. Raises UserError where the study has no finished cell."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("cells/*/result.json")):
        result = read_json(path)
        for name, scores in result["benchmarks"].items():
            if "1" in scores.get("pass_at_k", {}):
                found[result["cell"]["row"]][name].append(scores["pass_at_k"]["1"])
    if not found:
        raise UserError(f"{folder} has no finished cells: give the folder of a study, such as runs/quickstart")
    return {row: {name: {"pass@1": fmean(values), "seeds": len(values)} for name, values in each.items()} for row, each in found.items()}


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """What is to be measured, of which models."""
    parser = argparse.ArgumentParser(prog="python -m codetune.pretraining.score_card", description="A base model's score card.")
    parser.add_argument("model", help="a model's name or folder")
    parser.add_argument("--against", default="", metavar="MODEL", help="the model that it replaces: measured alike, side by side")
    parser.add_argument("--data", type=Path, help="the corpus' folder: held-out bits per byte, memorisation")
    parser.add_argument("--study", type=Path, help="a quickstart study's folder: the base rows, and after each method")
    parser.add_argument("--against-study", type=Path, help="the same study of the model that it replaces")
    parser.add_argument("--benchmarks", nargs="*", default=[], help="such as humaneval mbpp: pass@1 greedy, pass@10 sampled")
    parser.add_argument("--limit", type=int, help="only the first so many problems, to try it")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="of the memorisation")
    parser.add_argument("--out", type=Path, help="default: score_card.json in the model's folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for, print the table. Exit code 2 for what cannot be measured."""
    try:
        print(make(parsed(arguments)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make(options: argparse.Namespace) -> str:
    """The score card in its file, with what is asked for; its table."""
    out = options.out or Path(options.model) / SCORES
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent} for the score card: give --out FILE, or a model's folder")
    kept: Json = read_json(out) if out.exists() else {"models": {}}

    def keep() -> None:
        write_json(out, kept)

    models = [("model", options.model, options.study)]
    if options.against:
        models.append(("replaces", options.against, options.against_study))
    for role, name, study in models:
        asked = Asked(options.data, study, tuple(options.benchmarks), options.limit, options.prompts)
        mine = measure(name, asked, kept["models"], keep, lambda line: print(line, file=sys.stderr, flush=True))
        kept[role] = next(key for key, value in kept["models"].items() if value is mine)
    keep()
    if (out.parent / TRAINING).exists():
        write_card(out.parent)
    return table(kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
