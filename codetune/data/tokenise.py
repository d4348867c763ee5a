"""Text to token ids, once: examples as one flat array with offsets, cached on disk by the hash of what determines them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from codetune.config import content_hash
from codetune.errors import UserError
from codetune.prompts.template import Rendered, Template
from codetune.records import Problem
from codetune.runs import cache_folder

CACHE_VERSION = 1


class Tokenizer(Protocol):
    """What tokenising needs of a tokenizer; `models.load` wraps the transformers ones in it."""

    name_hash: str
    bos_id: int | None
    eos_id: int

    def encode(self, text: str, with_bos: bool) -> list[int]:
        """Ids of a text's start: a prompt, or a document."""

    def encode_continuation(self, text: str) -> list[int]:
        """Ids of a text that follows other text: no BOS, and no leading space invented."""


@dataclass(frozen=True, slots=True)
class TokenisedExamples:
    """Examples one after the other. `prompt_lengths[i]` tokens of example i carry no loss when `loss_on` is completion."""

    ids: NDArray[np.int32]  # [total tokens]
    offsets: NDArray[np.int64]  # [examples + 1]
    prompt_lengths: NDArray[np.int32]  # [examples]
    dropped_long: int = 0

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def example(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def targets(self, index: int) -> NDArray[np.bool_]:
        """Which tokens are predicted under a loss: never the first, never the prompt's."""
        flags = np.arange(self.offsets[index + 1] - self.offsets[index]) >= max(1, self.prompt_lengths[index])
        return np.asarray(flags)

    @property
    def supervised_tokens(self) -> int:
        return int((self.lengths - np.maximum(1, self.prompt_lengths)).clip(min=0).sum())


def encode_pair(rendered: Rendered, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Prompt ids and completion ids, the latter with EOS. Made apart, so the prompt is the same at inference."""
    prompt = encode_prompt(rendered.prompt, tokenizer, rendered.has_special)
    return prompt, [*tokenizer.encode_continuation(rendered.completion), tokenizer.eos_id]


def encode_prompt(prompt: str, tokenizer: Tokenizer, has_special: bool = False) -> list[int]:
    """Ids of an inference prompt; BOS by the family's rule, unless the text has it (chat templates)."""
    return tokenizer.encode(prompt, with_bos=not has_special)


def tokenise_problems(
    problems: Sequence[Problem], template: Template, tokenizer: Tokenizer, max_length: int, loss_on: Literal["completion", "all"]
) -> TokenisedExamples:
    """All problems that fit in `max_length` tokens; the others are counted, never truncated. Cached on disk."""
    rendered = [template.render(problem) for problem in problems]
    texts = [(one.prompt, one.completion, one.has_special) for one in rendered]
    key = content_hash([CACHE_VERSION, tokenizer.name_hash, tokenizer.bos_id, tokenizer.eos_id, loss_on, max_length, texts])
    cached = _load(key)
    if cached is not None:
        return cached
    pairs = [encode_pair(one, tokenizer) for one in rendered]
    kept = [(prompt + completion, len(prompt)) for prompt, completion in pairs if len(prompt) + len(completion) <= max_length]
    if not kept:
        raise UserError(f"none of {len(problems)} examples fits max_seq_len={max_length} tokens: raise max_seq_len")
    made = join((ids for ids, _ in kept), [prompt if loss_on == "completion" else 0 for _, prompt in kept], len(pairs) - len(kept))
    _store(key, made)
    return made


def join(examples: Iterable[Sequence[int]], prompt_lengths: Sequence[int], dropped_long: int = 0) -> TokenisedExamples:
    """Token lists as one flat record."""
    arrays = [np.asarray(ids, dtype=np.int32) for ids in examples]
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
    return TokenisedExamples(np.concatenate(arrays), offsets, np.asarray(prompt_lengths, dtype=np.int32), dropped_long)


def save_examples(path: Path, examples: TokenisedExamples) -> None:
    """Write atomically: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            dropped = np.asarray(examples.dropped_long)
            np.savez(file, ids=examples.ids, offsets=examples.offsets, prompt_lengths=examples.prompt_lengths, dropped=dropped)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_examples(path: Path) -> TokenisedExamples:
    """What `save_examples` wrote."""
    with path.open("rb") as file, np.load(file) as stored:
        return TokenisedExamples(stored["ids"], stored["offsets"], stored["prompt_lengths"], int(stored["dropped"]))


def _load(key: str) -> TokenisedExamples | None:
    try:
        return load_examples(cache_folder() / f"tokens-{key}.npz")
    except Exception:  # missing, or damaged, which zip files say in many ways: the tokens are made anew
        return None


def _store(key: str, examples: TokenisedExamples) -> None:
    try:
        save_examples(cache_folder() / f"tokens-{key}.npz", examples)
    except OSError:
        return  # a cache that cannot be written only costs time
