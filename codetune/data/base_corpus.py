"""Make the shipped base model's corpus: documents, a byte-level BPE tokenizer, token files, a manifest.

    codetune data prepare recipes/base-model.yaml
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from codetune.config import InfillingConfig, TrainRecipe
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.corpus import MAX_PACKAGE_BYTES, Corpus, build_corpus
from codetune.data.encode import encode_all
from codetune.data.overlap.benchmark_index import BenchmarkIndex
from codetune.data.overlap.training_overlap import found_benchmarks
from codetune.data.prepared.read import MANIFEST
from codetune.data.tokenise import Encoded, Example, collect, cut, save_examples
from codetune.errors import UserError
from codetune.prompts.infill import FAMILIES, infill
from codetune.prompts.rendered import Rendered
from codetune.records import Json
from codetune.runs import read_json, write_json

END, PAD = "<|endoftext|>", "<|pad|>"
MARKS = FAMILIES["StarCoder"]  # what a model that learns to infill is asked with
# Words with the sign before them, single digits, runs of signs, line ends with the blank lines before, indentation.
_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
DECONTAMINATED = ("humaneval", "mbpp-all", "conala", "basics-known", "basics-unseen")  # and all others that are found
_LARGEST_SHARE = 0.3  # bytes of a package's files for each training token: about a tenth of what is read
CORPUS_FOLDER = Path("runs/base-model/data")
_SPARE = 1.02  # the plan of steps may overshoot its budget by part of a row; no token should come twice
_AT_ONCE = 1000  # documents that are encoded in one call
_SLACK = 8  # tokens of a row that a hole's marks take, and text that is cut elsewhere


@dataclass(frozen=True, slots=True)
class Holes:
    """Which pieces of files are written as fill-in-the-middle, and how."""

    config: InfillingConfig
    seed: int

    def rendered(self, text: str, name: str) -> Rendered | None:
        """The piece with a hole, where it is one of those that get one: by a hash of its name and the seed."""
        rng = random.Random(hashlib.sha256(f"hole {self.seed} {name}".encode()).digest())
        return infill(text, self.config, MARKS, rng) if rng.random() < self.config.rate else None


def prepare_corpus(recipe: TrainRecipe, say: Callable[[str], None], processes: int = 1) -> str:
    """The corpus and the tokenizer of a recipe that trains a model from scratch, unless they are there; what there is now, in a line.

    Raises UserError where the folder has those of other numbers.
    """
    if recipe.data.source != "corpus" or recipe.architecture is None:
        return f"nothing to prepare for {recipe.data.source!r}: `codetune train` tokenises it by itself and caches that"
    folder, infilling = recipe.data.path or CORPUS_FOLDER, recipe.data.infilling
    numbers = {
        "vocab_size": recipe.architecture.vocab_size, "max_length": recipe.train.max_seq_len,
        "train_tokens": int(recipe.train.train_tokens * _SPARE), "seed": recipe.seed,
    }  # fmt: skip
    fixed = numbers | ({"infilling": infilling.model_dump(mode="json")} if infilling.rate else {})
    if (folder / MANIFEST).exists():
        _require_same(folder, fixed)
    else:
        write_json(folder / "prepared.json", fixed)
        prepare_base(folder, numbers, infilling, say, processes)
    return f"{read_json(folder / MANIFEST)['train_tokens']:,} training tokens: {folder}"


def _require_same(folder: Path, numbers: Json) -> None:
    """What was prepared stays: a model that is being trained on it must not find other tokens there."""
    if not (folder / "prepared.json").exists():
        return
    before = read_json(folder / "prepared.json")
    keys = dict.fromkeys([*before, *numbers])
    differing = ", ".join(f"{key} was {before.get(key)}, now {numbers.get(key)}" for key in keys if before.get(key) != numbers.get(key))
    if differing:
        raise UserError(f"{folder} was prepared with other numbers ({differing}): remove it, or give another folder as data.path")


def prepare_base(
    folder: Path, numbers: dict[str, int], infilling: InfillingConfig, say: Callable[[str], None], processes: int = 1
) -> None:
    """Write `tokenizer/`, `train/`, `held_out/` and `manifest.json` into the folder.

    `numbers` are `vocab_size`, `max_length`, `train_tokens` and `seed`. Pairs, functions and edits go in up to their
    share of `train_tokens`, files fill what is left. Where all there is is less, a run reads it several times.
    """
    max_length, train_tokens, seed = (numbers[key] for key in ("max_length", "train_tokens", "seed"))
    index, against = BenchmarkIndex(), list(dict.fromkeys([*DECONTAMINATED, *found_benchmarks()]))
    for name in against:
        index.add_problems(name, load_benchmark(name).problems)
    say(f"reading the installed permissively licensed Python, less what it shares with {', '.join(against)}")
    corpus = build_corpus(index, seed, max(MAX_PACKAGE_BYTES, int(_LARGEST_SHARE * train_tokens)), processes=processes)
    say(f"{len(corpus.files)} files and {len(corpus.pairs)} pairs; training the tokenizer")
    tokenizer = train_tokenizer(corpus, numbers["vocab_size"], seed, sorted(MARKS.tokens) if infilling.rate else ())
    save_tokenizer(tokenizer, folder / "tokenizer")
    parts, room = dict[str, int](), train_tokens
    chosen: list[Encoded] = []
    for name, documents, share in _mixture(corpus):
        budget = min(room, int(share * train_tokens))
        holes = Holes(infilling, seed) if name == "files" and infilling.rate else None
        pieces = list(_up_to(budget, encode_pieces(tokenizer, documents, max_length, holes)))
        parts[name] = _tokens(pieces)
        room -= parts[name]
        chosen += pieces
    held_out = [piece for document in encode_pieces(tokenizer, corpus.held_out, max_length) for piece in document]
    random.Random(seed).shuffle(chosen)
    for name, pieces in (("train", chosen), ("held_out", held_out)):
        save_examples(folder / name, collect(pieces))
    held_bytes = sum(len(tokenizer.decode(list(ids)).encode()) for ids, _ in held_out)
    holed = sum(not all(flags) for _, flags in chosen)
    write_json(
        folder / MANIFEST,
        {
            "packages": corpus.manifest, "left_out": dict(corpus.dropped), "decontaminated_against": against,
            "pairs": len(corpus.pairs), "files": len(corpus.files), "tokens_by_kind": parts,
            "infilling": {"rate": infilling.rate, "pieces": holed, "of": len(chosen)},
            "train_tokens": _tokens(chosen), "held_out_tokens": _tokens(held_out), "held_out_bytes": held_bytes,
            "held_out_targets": _tokens(held_out) - len(held_out),  # the first token of a piece is not predicted
        },
    )  # fmt: skip
    say(f"{_tokens(chosen)} training tokens, {_tokens(held_out)} held out ({held_bytes} bytes)")


def _mixture(corpus: Corpus) -> list[tuple[str, list[str], float]]:
    """What the model reads, and at most which share of its tokens. Edits teach it to look back at its prompt, so they are never few."""
    return [("edits", corpus.edits, 0.2), ("pairs", corpus.pairs, 0.35), ("functions", corpus.functions, 0.2), ("files", corpus.files, 1.0)]


def _tokens(pieces: Iterable[Encoded]) -> int:
    return sum(len(ids) for ids, _ in pieces)


def _up_to(budget: int, documents: Iterable[list[Encoded]]) -> Iterator[Encoded]:
    """The pieces of whole documents until the budget is spent."""
    for document in documents:
        if budget <= 0:
            return
        budget -= _tokens(document)
        yield from document


def train_tokenizer(corpus: Corpus, vocab_size: int, seed: int, marks: Sequence[str] = ()) -> tokenizers.Tokenizer:
    """Byte-level BPE on all pairs and a sample of the files, with tokens of their own for a hole's marks."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_SPLIT), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END, PAD, *marks], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    sample = random.Random(seed).sample(corpus.files, min(2000, len(corpus.files)))
    tokenizer.train_from_iterator([*corpus.pairs, *sample], trainer)
    return tokenizer


def save_tokenizer(tokenizer: tokenizers.Tokenizer, folder: Path) -> None:
    """In the form that transformers loads by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": PAD, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def encode_pieces(
    tokenizer: tokenizers.Tokenizer, documents: Sequence[str], max_length: int, holes: Holes | None = None
) -> Iterator[list[Encoded]]:
    """Each document as its pieces of at most `max_length` tokens, the last ending with EOS; some of them with a hole.

    A document is cut before it gets holes (Bavarian et al. 2022, section 4: at the level of contexts), as most files are longer than a
    row. What spells a special token in a text is just text.
    """
    tokenizer.encode_special_tokens = True
    end = _id(tokenizer, END)
    for first in range(0, len(documents), _AT_ONCE):
        batch = documents[first : first + _AT_ONCE]
        made, holed = list[list[Encoded]](), dict[tuple[int, int], Rendered]()
        for number, (text, encoding) in enumerate(zip(batch, tokenizer.encode_batch(batch), strict=True)):
            pieces = list(cut([*encoding.ids, end], max_length - _SLACK if holes else max_length))
            made.append([(piece.ids, piece.supervised) for piece in pieces])
            if holes:
                texts = _texts(text, encoding.offsets, pieces)
                found = (holes.rendered(one, f"{first + number} {at}") if one else None for at, one in enumerate(texts))
                holed |= {(number, at): rendered for at, rendered in enumerate(found) if rendered}
        for (number, at), encoded in zip(holed, encode_all(list(holed.values()), _Plain(tokenizer)), strict=True):
            if len(encoded[0]) <= max_length:
                made[number][at] = encoded
        yield from made


def _texts(text: str, offsets: Sequence[tuple[int, int]], pieces: Sequence[Example]) -> Iterator[str]:
    """The text of each of a document's pieces; that of EOS alone is empty. `offsets` are its tokens' first and last characters."""
    at = 0
    for piece in pieces:
        spans = offsets[at : at + len(piece.ids)]
        at += len(piece.ids)
        yield text[spans[0][0] : spans[-1][1]] if spans else ""


def _id(tokenizer: tokenizers.Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    assert found is not None, f"no token {token}"  # this module's own tokenizers have it
    return found


class _Plain:
    """The corpus' own tokenizer as `encode_all` wants one: it has no BOS, and a mark is a token."""

    name_hash = ""
    bos_id: int | None = None

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._inner = tokenizer
        self.eos_id = _id(tokenizer, END)

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        return self.encode_starts([text], marks)[0]

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        return self.encode_starts([text], marks)[0]

    def encode_starts(self, texts: Sequence[str], marks: bool = False) -> list[list[int]]:
        if marks:
            return [[_id(self._inner, text)] for text in texts]
        return [encoding.ids for encoding in self._inner.encode_batch_fast(list(texts))]

    def encode_continuations(self, texts: Sequence[str], marks: bool = False) -> list[list[int]]:
        return self.encode_starts(texts, marks)
