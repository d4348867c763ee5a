"""Each family with its real vocabulary: where a text begins and ends, and the exactness rules on real questions and answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codetune.batches import make_rows
from codetune.config import DecodingConfig, LoraConfig
from codetune.data import conala
from codetune.data.encode import encode_documents, endings_of
from codetune.data.tokenise import TokenisedExamples, join
from codetune.generate.engine import OwnEngine
from codetune.generate.request import Request
from codetune.methods import Adapted, attach
from codetune.models.families import Family, family_of, targets_of
from codetune.models.load import LoadedModel, TextTokenizer
from codetune.probe.forms import FORMS, build
from codetune.probe.subject import Subject, difference, loss_alone, loss_packed
from codetune.prompts.template import make_template
from codetune.records import Document
from tests.real_tokenizers import code_llama, deepseek_coder, falcon, gpt2, llama2, starcoder

Load = Callable[[Path], TextTokenizer]
# Form, tokenizer, what a text begins with, what an answer ends with.
REAL: list[tuple[str, Load, str | None, str]] = [
    ("gpt2", gpt2, None, "<|endoftext|>"),
    ("llama", llama2, "<s>", "</s>"),
    ("mistral", llama2, "<s>", "</s>"),  # of the same kind: SentencePiece, BOS first
    ("llama", code_llama, "<s>", "</s>"),
    ("llama", deepseek_coder, "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
    ("starcoder2", starcoder, None, "<|endoftext|>"),
    ("gpt_bigcode", starcoder, None, "<|endoftext|>"),
    ("falcon-7b", falcon, None, "<|endoftext|>"),
]
IDS = [f"{form}-{load.__name__}" for form, load, _, _ in REAL]


def examples(tokenizer: TextTokenizer, data: Path) -> TokenisedExamples:
    """Eight questions of CoNaLa with their answers."""
    documents = [*map(Document.of, conala.load_train(data / conala.TRAIN_FILE)[:8])]
    encoded = [one for one in encode_documents(documents, make_template("instruction"), tokenizer) if not isinstance(one, str)]
    assert len(encoded) == 8
    return join([ids for ids, _ in encoded], [counts.index(True) for _, counts in encoded])


def with_vocabulary(form: str, size: int) -> tuple[Adapted, Family]:
    """The tiny form with a vocabulary of this size and a LoRA that does something, in float64."""
    model = build(form)
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(0, 1, generator=torch.Generator().manual_seed(2))
    adapted = attach(model, LoraConfig(lora_rank=3), targets_of(model), [], 0)
    adapted.root.double()
    with torch.no_grad():
        for parameter in adapted.trained().values():
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return adapted, family_of(model.config)


@pytest.mark.parametrize(("form", "load", "begins", "ends"), REAL, ids=IDS)
def test_where_a_text_begins_and_ends(form: str, load: Load, begins: str | None, ends: str, data_folder: Path) -> None:
    """BOS where the family puts it, once; EOS after every answer, under the loss, whatever the tokenizer pads with."""
    tokenizer = load(data_folder)
    data = examples(tokenizer, data_folder)
    assert (tokenizer.bos_id is not None) == (begins is not None)
    assert tokenizer.eos_token == ends
    for index in range(len(data)):
        ids = data.example(index).tolist()
        if begins:
            assert (ids[0], ids.count(ids[0])) == (tokenizer.inner.convert_tokens_to_ids(begins), 1)
        assert (ids[-1], ids.count(tokenizer.eos_id), bool(data.targets(index)[-1])) == (tokenizer.eos_id, 1, True)
    lists = [(data.example(index).tolist(), data.targets(index).tolist()) for index in range(len(data))]
    assert endings_of(lists, (tokenizer.eos_id,)).share == 1


@pytest.mark.parametrize(("form", "load", "begins", "ends"), REAL, ids=IDS)
def test_real_texts_are_packed_exactly_and_answered_alike(form: str, load: Load, begins: str | None, ends: str, data_folder: Path) -> None:
    tokenizer = load(data_folder)
    data = examples(tokenizer, data_folder)
    adapted, family = with_vocabulary(form, len(tokenizer.inner))
    subject = Subject(form, adapted, family)
    assert len(make_rows(data, "exact", 128, range(8))) < 8
    loss, gradients = difference(loss_packed(subject, data, capacity=128), loss_alone(adapted, data))
    tolerance = 1e-6 if FORMS[form].computes_in_fp32 else 1e-12
    assert loss < tolerance
    assert gradients < 10 * tolerance
    adapted.root.eval()
    engine = OwnEngine(LoadedModel("tiny", adapted.model, tokenizer, family, ""), adapted)
    asked = ("Sort a list", "Read a file\n", "x", "How do I reverse a string s?")
    requests = [Request(str(number), text) for number, text in enumerate(asked)]
    alone, together = (engine.generate(requests, DecodingConfig(max_new_tokens=8, batch_size=size)) for size in (1, 4))
    assert [one.text for one in alone] == [one.text for one in together]
