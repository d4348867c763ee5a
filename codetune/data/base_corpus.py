"""Make the shipped base model's corpus: documents, a byte-level BPE tokenizer, token files, a manifest.

    codetune data prepare recipes/base-model.yaml
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from codetune.data.benchmarks import load as load_benchmark
from codetune.data.corpus import Corpus, build_corpus
from codetune.data.overlap.benchmark_index import BenchmarkIndex
from codetune.data.tokenise import cut, join, save_examples
from codetune.runs import write_json

END, PAD = "<|endoftext|>", "<|pad|>"
# Words with the sign before them, single digits, runs of signs, line ends with the blank lines before, indentation.
_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
DECONTAMINATED = ("humaneval", "mbpp-all", "conala", "basics-known", "basics-unseen")


def prepare_base(folder: Path, vocab_size: int, max_length: int, train_tokens: int, seed: int, say: Callable[[str], None]) -> None:
    """Write `tokenizer/`, `train/`, `held_out/` and `manifest.json` into the folder.

    Pairs, functions and edits go in up to their share of `train_tokens`, files fill what is left.
    """
    index = BenchmarkIndex()
    for name in DECONTAMINATED:
        index.add_problems(name, load_benchmark(name).problems)
    say("reading the installed permissively licensed Python")
    corpus = build_corpus(index, seed)
    say(f"{len(corpus.files)} files and {len(corpus.pairs)} pairs; training the tokenizer")
    tokenizer = train_tokenizer(corpus, vocab_size, seed)
    save_tokenizer(tokenizer, folder / "tokenizer")
    end = 0  # the first special token, END
    parts, room = dict[str, int](), train_tokens
    chosen: list[list[int]] = []
    for name, documents, share in _mixture(corpus):
        budget = min(room, int(share * train_tokens))
        pieces = list(_up_to(budget, _encode(tokenizer, documents, end, max_length)))
        parts[name] = sum(map(len, pieces))
        room -= parts[name]
        chosen += pieces
    held_out = [piece for document in _encode(tokenizer, corpus.held_out, end, max_length) for piece in document]
    random.Random(seed).shuffle(chosen)
    for name, pieces in (("train", chosen), ("held_out", held_out)):
        save_examples(folder / name, join(pieces, [0] * len(pieces)))
    held_bytes = sum(len(tokenizer.decode(piece).encode()) for piece in held_out)
    write_json(
        folder / "manifest.json",
        {
            "packages": corpus.manifest, "left_out": dict(corpus.dropped), "decontaminated_against": list(DECONTAMINATED),
            "pairs": len(corpus.pairs), "files": len(corpus.files), "tokens_by_kind": parts,
            "train_tokens": sum(map(len, chosen)), "held_out_tokens": sum(map(len, held_out)), "held_out_bytes": held_bytes,
            "held_out_targets": sum(len(piece) - 1 for piece in held_out),  # the first token of a piece is not predicted
        },
    )  # fmt: skip
    say(f"{sum(map(len, chosen))} training tokens, {sum(map(len, held_out))} held out ({held_bytes} bytes)")


def _mixture(corpus: Corpus) -> list[tuple[str, list[str], float]]:
    """What the model reads, and at most which share of its tokens. Edits teach it to look back at its prompt, so they are never few."""
    return [("edits", corpus.edits, 0.2), ("pairs", corpus.pairs, 0.35), ("functions", corpus.functions, 0.2), ("files", corpus.files, 1.0)]


def _up_to(budget: int, documents: Iterable[list[list[int]]]) -> Iterator[list[int]]:
    """The pieces of whole documents until the budget is spent."""
    for document in documents:
        if budget <= 0:
            return
        budget -= sum(map(len, document))
        yield from document


def train_tokenizer(corpus: Corpus, vocab_size: int, seed: int) -> tokenizers.Tokenizer:
    """Byte-level BPE on all pairs and a sample of the files."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_SPLIT), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END, PAD], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
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


def _encode(tokenizer: tokenizers.Tokenizer, documents: Sequence[str], end: int, max_length: int) -> list[list[list[int]]]:
    """Each document as its pieces of at most `max_length` tokens, the last ending with EOS."""
    encodings = tokenizer.encode_batch(documents)
    return [[list(piece.ids) for piece in cut([*encoding.ids, end], max_length)] for encoding in encodings]
