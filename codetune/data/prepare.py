"""Make the shipped base model's corpus: documents, a byte-level BPE tokenizer, token files, a manifest.

    codetune data prepare recipes/base-model.yaml
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from codetune.data.benchmarks import load as load_benchmark
from codetune.data.corpus import Corpus, build_corpus
from codetune.data.decontaminate import BenchmarkIndex
from codetune.data.tokenise import join, save_examples
from codetune.runs import write_json

END, PAD = "<|endoftext|>", "<|pad|>"
# Words with the sign before them, single digits, runs of signs, line ends with the blank lines before, indentation.
_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
DECONTAMINATED = ("humaneval", "mbpp-all", "conala", "basics-known", "basics-unseen")
HELD_OUT_SHARE = 0.005


def prepare_base(folder: Path, vocab_size: int, max_length: int, train_tokens: int, seed: int, say: Callable[[str], None]) -> None:
    """Write `tokenizer/`, `train.npz`, `held_out.npz` and `manifest.json` into the folder.

    All pairs go in once, files fill what is left of `train_tokens`. Held-out documents are whole ones, kept apart by hash.
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
    pairs = _encode(tokenizer, corpus.pairs, end, max_length)
    files = _encode(tokenizer, corpus.files, end, max_length)
    held_pairs, held_files = int(len(pairs) * HELD_OUT_SHARE), int(len(files) * HELD_OUT_SHARE)
    held_out = [piece for document in [*pairs[:held_pairs], *files[:held_files]] for piece in document]
    chosen = [piece for document in pairs[held_pairs:] for piece in document]
    room = train_tokens - sum(map(len, chosen))
    used_files = 0
    for document in files[held_files:]:
        if room <= 0:
            break
        chosen += document
        room -= sum(map(len, document))
        used_files += 1
    random.Random(seed).shuffle(chosen)
    for name, pieces in (("train", chosen), ("held_out", held_out)):
        save_examples(folder / f"{name}.npz", join(pieces, [0] * len(pieces)))
    held_bytes = sum(len(tokenizer.decode(piece).encode()) for piece in held_out)
    write_json(
        folder / "manifest.json",
        {
            "packages": corpus.manifest, "left_out": dict(corpus.dropped), "decontaminated_against": list(DECONTAMINATED),
            "pairs": len(corpus.pairs), "files": len(corpus.files), "files_used": used_files,
            "train_tokens": sum(map(len, chosen)), "held_out_tokens": sum(map(len, held_out)), "held_out_bytes": held_bytes,
            "held_out_targets": sum(len(piece) - 1 for piece in held_out),  # the first token of a piece is not predicted
        },
    )  # fmt: skip
    say(f"{sum(map(len, chosen))} training tokens, {sum(map(len, held_out))} held out ({held_bytes} bytes)")


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
    return [list(_pieces([*encoding.ids, end], max_length)) for encoding in tokenizer.encode_batch(documents)]


def _pieces(ids: list[int], max_length: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), max_length):
        if len(ids) - start >= 2:
            yield ids[start : start + max_length]
