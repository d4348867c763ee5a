"""Tiny encoder-decoder models in a folder, as a user has them: a T5 with a tokenizer like CodeT5's, a PLBART with one like PLBART's."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from codetune.data import basics
from codetune.prompts.template import make_template

VOCABULARY = 512
PAD, BEGIN, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"


def t5_folder(folder: Path) -> Path:
    """Ids as CodeT5 has them: <pad> 0, <s> 1, </s> 2, <unk> 3; the tokenizer puts <s> and </s> round a text."""
    inner = _trained([PAD, BEGIN, END, UNKNOWN])
    vocabulary = inner.get_vocab()
    inner.post_processor = processors.RobertaProcessing((END, vocabulary[END]), (BEGIN, vocabulary[BEGIN]), add_prefix_space=False)
    _save_tokenizer(inner, folder)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, pad_token_id=0,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    return folder


def plbart_folder(folder: Path) -> Path:
    """Ids as PLBART has them: <s> 0, <pad> 1, </s> 2, <unk> 3; a text ends with </s>, and its config names no start of the decoder."""
    inner = _trained([BEGIN, PAD, END, UNKNOWN, "__python__"])
    inner.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 2)])
    _save_tokenizer(inner, folder)
    torch.manual_seed(0)
    config = transformers.PLBartConfig(
        vocab_size=VOCABULARY, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48, decoder_ffn_dim=48,
        encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=256,
    )  # fmt: skip
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    return folder


def _trained(special: list[str]) -> tokenizers.Tokenizer:
    inner = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    template = make_template("instruction")
    inner.train_from_iterator((template.render(problem).text for problem in basics.load("validation")), trainer)
    return inner


def _save_tokenizer(inner: tokenizers.Tokenizer, folder: Path) -> None:
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=BEGIN, eos_token=END, pad_token=PAD, unk_token=UNKNOWN)
    fast.save_pretrained(folder)
