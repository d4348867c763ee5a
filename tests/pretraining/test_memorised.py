"""What is copied from a corpus is found: of a tiny model that knows one text by heart, and of one that knows nothing."""

from __future__ import annotations

import random

import pytest
import torch
import transformers

from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.attention import use_document_attention
from codetune.models.families import family_of
from codetune.models.load import LoadedModel, TextTokenizer, load_tokenizer, model_hash
from codetune.pretraining.memorised import CorpusTexts, choose_prompts, memorised, told


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return load_tokenizer("codetune-base")


@pytest.fixture(scope="module")
def words(tokenizer: TextTokenizer) -> list[str]:
    """Words of one token each, in some order."""
    found = sorted(token[1:] for token in tokenizer.vocabulary if token[0] == "Ġ" and token[1:].isalpha() and token[1:].isascii())
    return [f" {word}" for word in random.Random(0).sample(found, 300)]


def untrained(tokenizer: TextTokenizer) -> LoadedModel:
    config = transformers.LlamaConfig(
        vocab_size=8192, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=256,
        tie_word_embeddings=False, eos_token_id=tokenizer.eos_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    use_document_attention(model)
    return LoadedModel("tiny", model, tokenizer, family_of(config), model_hash(model))


def by_heart(loaded: LoadedModel, text: str) -> Adapted:
    """The model after it has learned which token follows which in the text."""
    ids = torch.tensor([loaded.tokenizer.encode(text, with_bos=False)])
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = loaded.model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.1
    return Adapted(loaded.model, "full")


def test_a_text_known_by_heart_is_found_to_be_copied(tokenizer: TextTokenizer, words: list[str]) -> None:
    text = "".join(words[:150])
    others = tuple("".join(words[at:]) for at in range(150, 154))
    corpus = CorpusTexts((text, *others), (0,))
    loaded = untrained(tokenizer)
    before = memorised(loaded, Adapted(loaded.model, "base"), corpus)
    assert (before["prompts"], before["copied"], before["as_it_goes_on"]) == (1, 0, 0)
    found = memorised(loaded, by_heart(loaded, text), corpus)
    assert (found["prompts"], found["copied"], found["as_it_goes_on"], found["share"]) == (1, 1, 1, 1.0)
    assert told(found).startswith("100.0% (20.7 to 100.0) of 1 continuations of 50 tokens")


def test_a_copy_from_elsewhere_counts_but_is_not_how_the_piece_goes_on(tokenizer: TextTokenizer, words: list[str]) -> None:
    """The prompt is another piece's, and its own continuation stands nowhere but there."""
    text, piece = "".join(words[:150]), "".join([*words[10:60], *words[200:250]])
    loaded = untrained(tokenizer)
    adapted = by_heart(loaded, text)
    found = memorised(loaded, adapted, CorpusTexts((text, piece), (1,)))
    assert (found["prompts"], found["copied"], found["as_it_goes_on"]) == (1, 1, 0)
    found = memorised(loaded, adapted, CorpusTexts((piece,), (0,)))
    assert (found["prompts"], found["copied"], found["as_it_goes_on"]) == (1, 0, 0)


def test_prompts_are_of_plain_pieces_that_are_long_enough(tokenizer: TextTokenizer, words: list[str]) -> None:
    long, short, foreign = "".join(words[:100]), "".join(words[:99]), "".join([*words[:99], " é"])
    corpus = CorpusTexts((long, short, foreign, long), (0, 1, 2))
    assert choose_prompts(corpus, tokenizer, 10, seed=0) == [("".join(words[:50]), "".join(words[50:100]))]
    loaded = untrained(tokenizer)
    with pytest.raises(UserError, match="no piece of the corpus has 100 tokens"):
        memorised(loaded, Adapted(loaded.model, "base"), CorpusTexts((short,), (0,)))
