"""Real vocabularies from the data folder as transformers tokenizers: byte-level BPE (GPT-2, StarCoder2, DeepSeek-Coder, Falcon) and
SentencePiece BPE (Llama 2, and Code Llama, which is that and its marks)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers.tokenization_utils_base import generate_merges

from codetune.models.load import TextTokenizer


@cache
def gpt2(data: Path) -> TextTokenizer:
    folder = data / "gpt2_tokenizer"
    return TextTokenizer(transformers.GPT2Tokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")))


@cache
def llama2(data: Path) -> TextTokenizer:
    """As transformers converts it where the sentencepiece library is installed; like the published one it puts BOS first."""
    return TextTokenizer(_llama(data))


@cache
def code_llama(data: Path) -> TextTokenizer:
    """Llama 2's with the published ids of Code Llama's marks: 32007 to 32010."""
    inner = _llama(data)
    names = [*(f"<unused{number}>" for number in range(7)), *(f"\u2581<{name}>" for name in ("PRE", "SUF", "MID", "EOT"))]
    inner.add_tokens([AddedToken(name, special=True, normalized=False) for name in names], special_tokens=True)
    return TextTokenizer(inner)


@cache
def starcoder(data: Path) -> TextTokenizer:
    """StarCoder2's."""
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    return _of_gguf(data / "gguf_vocabs" / "ggml-vocab-starcoder.gguf", split)


@cache
def deepseek_coder(data: Path) -> TextTokenizer:
    split: list[pre_tokenizers.PreTokenizer] = [
        *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥]+")),
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    return _of_gguf(data / "gguf_vocabs" / "ggml-vocab-deepseek-coder.gguf", split)


@cache
def falcon(data: Path) -> TextTokenizer:
    split: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
    ]
    return _of_gguf(data / "gguf_vocabs" / "ggml-vocab-falcon.gguf", split)


def _llama(data: Path) -> Any:
    """Merges in the order of the pieces' scores: runs of spaces come last, though their ids are among the first."""
    scores = dict(_pieces((data / "llama2_tokenizer" / "tokenizer.model").read_bytes()))
    vocab = {piece: number for number, piece in enumerate(scores)}
    return transformers.LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab, scores), add_bos_token=True)


def _of_gguf(path: Path, split: list[pre_tokenizers.PreTokenizer]) -> TextTokenizer:
    """A byte-level BPE with its special tokens, and BOS in front where the file says so."""
    facts = {name.removeprefix("tokenizer.ggml."): value for name, value in _gguf(path).items()}
    tokens, kinds = facts["tokens"], facts["token_type"]
    merges = [tuple(merge.split(" ")) for merge in facts["merges"]]
    inner = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Sequence(split), decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind in (3, 4) and len(token) > 1]  # control, user-defined
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    bos, eos = (tokens[facts[f"{name}_token_id"]] for name in ("bos", "eos"))
    if facts.get("add_bos_token"):
        inner.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, facts["bos_token_id"])])
    return TextTokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token=eos))


def _gguf(path: Path) -> dict[str, Any]:
    """The key-value pairs of a GGUF file of version 3 (github.com/ggml-org/ggml, docs/gguf.md)."""
    raw, at = path.read_bytes(), 24
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def number(code: str) -> Any:
        nonlocal at
        at += struct.calcsize(f"<{code}")
        return struct.unpack_from(f"<{code}", raw, at - struct.calcsize(f"<{code}"))[0]

    def value(kind: int) -> Any:
        nonlocal at
        if kind == 8:  # a string
            size = number("Q")
            at += size
            return raw[at - size : at].decode("utf-8", "replace")
        if kind == 9:  # an array
            inner, count = number("I"), number("Q")
            return [value(inner) for _ in range(count)]
        return number(numbers[kind])

    (pairs,) = struct.unpack_from("<Q", raw, 16)
    return {value(8): value(number("I")) for _ in range(pairs)}


def _pieces(model: bytes) -> Iterator[tuple[str, float]]:
    """The pieces of a sentencepiece file with their scores: protobuf messages under field 1, text in their field 1, score in field 2."""
    at = 0
    while at < len(model) and model[at] == 0x0A:  # field 1, length-delimited; all pieces are shorter than 128 bytes
        size = model[at + 1]
        piece = model[at + 2 : at + 2 + size]
        text = 2 + piece[1]
        yield piece[2:text].decode(), struct.unpack_from("<f", piece, text + 1)[0]
        at += 2 + size
