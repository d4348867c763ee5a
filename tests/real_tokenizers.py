"""Real vocabularies from the data folder as transformers tokenizers: GPT-2's byte-level BPE and Llama 2's SentencePiece BPE."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import transformers
from transformers.tokenization_utils_base import generate_merges

from codetune.models.load import TextTokenizer


@cache
def gpt2(data: Path) -> TextTokenizer:
    folder = data / "gpt2_tokenizer"
    return TextTokenizer(transformers.GPT2Tokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")))


@cache
def llama2(data: Path) -> TextTokenizer:
    """As transformers converts it where the sentencepiece library is installed; like the published one it puts BOS first."""
    vocab = {piece: number for number, piece in enumerate(_pieces((data / "llama2_tokenizer" / "tokenizer.model").read_bytes()))}
    return TextTokenizer(transformers.LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab), add_bos_token=True))


def _pieces(model: bytes) -> Iterator[str]:
    """The pieces of a sentencepiece file: protobuf messages under field 1, each with its text in field 1."""
    at = 0
    while at < len(model) and model[at] == 0x0A:  # field 1, length-delimited; all pieces are shorter than 128 bytes
        size = model[at + 1]
        piece = model[at + 2 : at + 2 + size]
        yield piece[2 : 2 + piece[1]].decode()
        at += 2 + size
