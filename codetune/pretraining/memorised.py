"""How much of its training corpus a model writes down word for word.

    python -m codetune.pretraining.memorised runs/base-model-gpu/shipped --data runs/base-model-gpu/data

A prompt is 50 tokens from somewhere in the corpus, the continuation 50 tokens, greedy (Carlini et al. 2023, arXiv 2202.07646, take as
many). Copied is one whose text is anywhere in the corpus; `as_it_goes_on` are those that are what follows the prompt there. A tokenizer
other than the corpus' own can be asked, too: texts are compared, not tokens.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import tokenizers

from codetune.config import DecodingConfig
from codetune.data.tokenise import load_examples
from codetune.errors import UserError
from codetune.generate.engine import OwnEngine
from codetune.generate.request import Request
from codetune.methods import Adapted
from codetune.models.load import LoadedModel, TextTokenizer
from codetune.models.open import open_model
from codetune.records import Json
from codetune.score.statistics import wilson_interval

PROMPT, CONTINUATION = 50, 50  # tokens
PROMPTS = 500
_AT_ONCE = 4096  # examples that are decoded in one call


@dataclass(frozen=True, slots=True)
class CorpusTexts:
    """Text of each piece that a run was trained on; `plain` are those without a hole, which alone are text as it was written."""

    texts: tuple[str, ...]
    plain: tuple[int, ...]


@lru_cache(maxsize=2)
def corpus_texts(data: Path, part: str = "train") -> CorpusTexts:
    """The pieces of a folder that `codetune data prepare` wrote for a model from scratch. Raises UserError where there is none."""
    if not (data / part).is_dir():
        raise UserError(f"no corpus in {data}: give the folder that `codetune data prepare` wrote (data.path of the recipe)")
    examples, tokenizer = load_examples(data / part), tokenizers.Tokenizer.from_file(str(data / "tokenizer" / "tokenizer.json"))
    texts = list[str]()
    for first in range(0, len(examples), _AT_ONCE):
        ids = [examples.example(index).tolist() for index in range(first, min(len(examples), first + _AT_ONCE))]
        texts += tokenizer.decode_batch(ids, skip_special_tokens=True)
    whole = np.logical_and.reduceat(examples.supervised, examples.offsets[:-1])  # marks do not count for the loss, all else does
    return CorpusTexts(tuple(texts), tuple(np.flatnonzero(whole).tolist()))


def memorised(loaded: LoadedModel, adapted: Adapted, corpus: CorpusTexts, prompts: int = PROMPTS, seed: int = 0) -> Json:
    """How many continuations of so many prompts are copies. Raises UserError where no piece of the corpus is long enough."""
    asked = choose_prompts(corpus, loaded.tokenizer, prompts, seed)
    if not asked:
        raise UserError(f"no piece of the corpus has {PROMPT + CONTINUATION} tokens: there is nothing to be continued")
    requests = [Request(str(number), prompt) for number, (prompt, _) in enumerate(asked)]
    written = OwnEngine(loaded, adapted).generate(requests, DecodingConfig(max_new_tokens=CONTINUATION, batch_size=100))
    whole = "\0".join(corpus.texts).encode()
    full = [one.num_tokens == CONTINUATION and one.finish == "length" for one in written]  # one that ends before is no copy of 50 tokens
    copied = sum(long and one.text.encode() in whole for long, one in zip(full, written, strict=True))
    follows = sum(long and one.text == truth for long, one, (_, truth) in zip(full, written, asked, strict=True))
    share = wilson_interval(copied, len(asked))
    return {
        "prompts": len(asked), "prompt_tokens": PROMPT, "continuation_tokens": CONTINUATION, "copied": copied,
        "share": share.value, "share_ci95": [share.low, share.high], "as_it_goes_on": follows, "seed": seed,
    }  # fmt: skip


def choose_prompts(corpus: CorpusTexts, tokenizer: TextTokenizer, count: int, seed: int) -> list[tuple[str, str]]:
    """Prompts of 50 tokens with the 50 that follow, at most one from each plain piece, at a random place; ASCII only, as a character
    could be torn apart."""
    chosen, rng = list[tuple[str, str]](), random.Random(f"memorised {seed}")
    for index in rng.sample(corpus.plain, len(corpus.plain)):
        if len(chosen) == count:
            break
        text = corpus.texts[index]
        if not text.isascii():
            continue
        ids = tokenizer.encode(text, with_bos=False)
        if len(ids) >= PROMPT + CONTINUATION:
            at = rng.randrange(len(ids) - PROMPT - CONTINUATION + 1)
            prompt, rest = ids[at : at + PROMPT], ids[at + PROMPT : at + PROMPT + CONTINUATION]
            chosen.append((tokenizer.inner.decode(prompt), tokenizer.decode_after(prompt, rest)))
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Measure and print. Exit code 2 for what cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m codetune.pretraining.memorised", description="What a model copies from its corpus.")
    parser.add_argument("model", help="a model's name or folder")
    parser.add_argument("--data", type=Path, required=True, help="the corpus' folder: `data.path` of the recipe")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        loaded, adapted = open_model(options.model)
        found = memorised(loaded, adapted, corpus_texts(options.data), options.prompts, options.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found) if options.json else told(found))
    return 0


def told(found: Json) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in found["share_ci95"])
    return (
        f"{100 * found['share']:.1f}% ({low} to {high}) of {found['prompts']} continuations of {found['continuation_tokens']} tokens are "
        f"somewhere in the corpus, {found['as_it_goes_on']} of them as it goes on there"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
