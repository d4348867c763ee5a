"""Fill-in-the-middle: nothing of the document is lost, families get their own forms to the token, who is chosen hangs on no order."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.config import InfillingConfig
from codetune.data.encode import encode, encode_context
from codetune.errors import UserError
from codetune.models.load import TextTokenizer
from codetune.prompts.infill import FAMILIES, Infilling, Marks, Part, choose_marks, hole, infill, marks_from, marks_of
from codetune.prompts.rendered import Rendered
from codetune.prompts.template import make_template
from codetune.records import Document
from tests.real_tokenizers import code_llama, deepseek_coder, gpt2, llama2, starcoder

TEMPLATE = make_template("instruction")
PSM, SPM = InfillingConfig(rate=1, spm_share=0), InfillingConfig(rate=1, spm_share=1)
OWN = marks_from("<PRE>", "<SUF>", "<MID>")


class Draws(random.Random):
    """Says what it was told to."""

    def __init__(self, *draws: float) -> None:
        super().__init__()
        self.draws = list(draws)

    def random(self) -> float:
        return self.draws.pop(0)


def cut(prefix: str, middle: str, suffix: str, config: InfillingConfig, marks: Marks) -> Rendered:
    """With the hole at that very place."""
    text = prefix + middle + suffix
    start, stop = ((length + 0.5) / (len(text) + 1) for length in (len(prefix), len(prefix + middle)))
    return infill(text, config, marks, Draws(0.5, stop, start))


@pytest.mark.parametrize(
    ("marks", "config", "wanted"),
    [
        ("StarCoder", PSM, "<fim_prefix>P<fim_suffix>S<fim_middle>M"),
        ("StarCoder", SPM, "<fim_prefix><fim_suffix>S<fim_middle>PM"),
        ("SantaCoder", PSM, "<fim-prefix>P<fim-suffix>S<fim-middle>M"),
        ("Code Llama", PSM, "▁<PRE> P▁<SUF>S▁<MID>M▁<EOT>"),
        ("Code Llama", SPM, "▁<PRE>▁<SUF>S▁<MID> PM▁<EOT>"),
        ("Qwen2.5-Coder", PSM, "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>M"),
        ("Qwen2.5-Coder", SPM, "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>M"),  # it knows no other order
        ("DeepSeek-Coder", PSM, "<｜fim▁begin｜>P<｜fim▁hole｜>S<｜fim▁end｜>M"),
        ("Codestral", PSM, "[SUFFIX]S[PREFIX] PM"),  # nor does this one
    ],
)
def test_the_forms_of_families(marks: str, config: InfillingConfig, wanted: str) -> None:
    rendered = cut("P", "M", "S", config, FAMILIES[marks])
    assert rendered.text == wanted
    assert "".join(segment.text for segment in rendered.segments if not segment.supervised) == "".join(
        mark for mark in (segment.text for segment in rendered.segments if segment.is_mark) if mark != FAMILIES[marks].end
    )
    assert {segment.text for segment in rendered.segments if segment.is_mark} == {*FAMILIES[marks].tokens} & {
        segment.text for segment in rendered.segments
    }
    assert not rendered.has_special


def test_what_is_learned_and_what_is_asked() -> None:
    """Prefix, suffix and middle count for the loss, the marks do not; at inference the prompt is all up to the middle."""
    rendered = cut("def f(", "x", "):", PSM, OWN)
    assert [(segment.text, segment.supervised) for segment in rendered.segments] == [
        ("<PRE>", False), ("def f(", True), ("<SUF>", False), ("):", True), ("<MID>", False), ("x", True),
    ]  # fmt: skip
    assert rendered.supervised("completion") == rendered.supervised("assistant") == (False, True, False, True, False, True)
    assert (rendered.prompt, rendered.completion) == ("<PRE>def f(<SUF>):<MID>", "x")
    assert [rendered.eos_follows(number) for number in range(6)] == [False] * 5 + [True]


def restored(rendered: Rendered, marks: Marks) -> str:
    """The document, from its pieces."""
    pieces = [segment for segment in rendered.segments if not (segment.is_mark and segment.supervised)]  # all but the mark of the end
    supervised = [segment.supervised for segment in pieces]
    form = next(form for form in (marks.psm, marks.spm) if form and [isinstance(part, Part) for part in form] == supervised)
    named = {part: segment.text for part, segment in zip(form, pieces, strict=True)}
    first = named.get(Part.PREFIX, "").removeprefix(marks.before_prefix) + named.get(Part.WHOLE, "") + named.get(Part.MIDDLE, "")
    return first + named[Part.SUFFIX]


@given(st.text(), st.sampled_from([*FAMILIES.values(), OWN]), st.floats(0, 1), st.integers(0, 99))
def test_the_pieces_are_the_document(text: str, marks: Marks, spm_share: float, seed: int) -> None:
    rendered = infill(text, InfillingConfig(rate=1, spm_share=spm_share), marks, random.Random(seed))
    back = restored(rendered, marks)
    joined = Part.WHOLE in (marks.spm or ()) and len(rendered.segments) == 6
    assert back == text or (joined and back == f"{marks.before_prefix}{text}")  # prefix and middle in one begin as a text does


def test_every_cut_is_as_likely() -> None:
    """Of a text of three characters there are four places, hence 16 pairs of them; the middle is empty in four."""
    rng = random.Random(0)
    found = [infill("abc", PSM, OWN, rng).segments for _ in range(16_000)]
    empty = sum(segments[5].text == "" for segments in found) / len(found)
    whole = sum(segments[5].text == "abc" for segments in found) / len(found)
    assert 0.24 < empty < 0.26
    assert 0.115 < whole < 0.135


DOCUMENTS = [Document(f"file/{number}", text=f"x = {number}\n", source="code") for number in range(2_000)]


def test_who_is_chosen_depends_on_seed_and_id_alone() -> None:
    infilling = Infilling(InfillingConfig(rate=0.3), OWN, seed=1)
    made = {document.id: infilling.render(document, TEMPLATE) for document in DOCUMENTS}
    assert {document.id: infilling.render(document, TEMPLATE) for document in reversed(DOCUMENTS)} == made
    share = sum(len(rendered.segments) > 1 for rendered in made.values()) / len(made)
    assert 0.27 < share < 0.33
    orders = [rendered.segments[1].text == "<SUF>" for rendered in made.values() if len(rendered.segments) > 1]
    assert 0.4 < sum(orders) / len(orders) < 0.6
    other = Infilling(InfillingConfig(rate=0.3), OWN, seed=2)
    assert any(other.render(document, TEMPLATE) != made[document.id] for document in DOCUMENTS)
    assert Infilling(InfillingConfig(), OWN).render(DOCUMENTS[0], TEMPLATE) == TEMPLATE.render_document(DOCUMENTS[0])


def test_a_lower_rate_chooses_among_the_same_and_cuts_them_the_same() -> None:
    few, many = (Infilling(InfillingConfig(rate=rate), OWN) for rate in (0.2, 0.6))
    chosen = [document for document in DOCUMENTS if len(few.render(document, TEMPLATE).segments) > 1]
    assert [few.render(document, TEMPLATE) for document in chosen] == [many.render(document, TEMPLATE) for document in chosen]


def test_pairs_conversations_and_empty_files_have_no_hole() -> None:
    infilling = Infilling(InfillingConfig(rate=1), OWN)
    for document in (Document("a", instruction="x", text="y"), Document("b")):
        assert infilling.render(document, TEMPLATE) == TEMPLATE.render_document(document)


# A prompt of transformers' tests of Code Llama with what the published 7B model wrote (tests/models/code_llama of transformers, all of
# it but for the text, which is theirs decoded): BOS, <PRE>, prefix, <SUF>, suffix, <MID>, middle, <EOT>, EOS.
CODE_LLAMA_IDS = [
    1, 32007, 822, 3349, 29918, 5464, 29918, 294, 18869, 29898, 29879, 29901, 851, 29897, 1599, 851, 29901, 13, 1678, 9995, 29871, 32008,
    13, 1678, 736, 1121, 13, 32009, 15941, 1661, 29899, 28599, 2687, 4890, 515, 263, 1347, 29889, 13, 13, 1678, 826, 3174, 29901, 13, 4706,
    269, 29901, 450, 1347, 304, 3349, 1661, 29899, 28599, 2687, 4890, 515, 29889, 13, 13, 1678, 16969, 29901, 13, 4706, 450, 1347, 411,
    1661, 29899, 28599, 2687, 4890, 6206, 29889, 13, 1678, 9995, 13, 1678, 1121, 353, 5124, 13, 1678, 363, 274, 297, 269, 29901, 13, 4706,
    565, 4356, 29898, 29883, 29897, 529, 29871, 29896, 29906, 29947, 29901, 13, 9651, 1121, 4619, 274, 32010, 2,
]  # fmt: skip
PREFIX, SUFFIX = 'def remove_non_ascii(s: str) -> str:\n    """ ', "\n    return result\n"
MIDDLE = (
    "Remove non-ASCII characters from a string.\n\n    Args:\n        s: The string to remove non-ASCII characters from.\n\n"
    '    Returns:\n        The string with non-ASCII characters removed.\n    """\n    result = ""\n    for c in s:\n'
    "        if ord(c) < 128:\n            result += c"
)


def test_code_llama_to_the_published_token(data_folder: Path) -> None:
    tokenizer = code_llama(data_folder)
    ids, counted = encode(cut(PREFIX, MIDDLE, SUFFIX, PSM, choose_marks(PSM, tokenizer.vocabulary)), tokenizer)
    assert ids == CODE_LLAMA_IDS
    assert [token for token, counts in zip(ids, counted, strict=True) if not counts] == [1, 32007, 32008, 32009]


def test_code_llama_suffix_first(data_folder: Path) -> None:
    """BOS, <PRE>, <SUF>, suffix, <MID>, then prefix and middle as one text: the pieces' ids of the other order, but where they meet."""
    tokenizer = code_llama(data_folder)
    suffix, prefix = [13, 1678, 736, 1121, 13], tokenizer.encode(PREFIX, with_bos=False)
    ids, _ = encode(cut(PREFIX, MIDDLE, SUFFIX, SPM, FAMILIES["Code Llama"]), tokenizer)
    assert ids[:9] == [1, 32007, 32008, *suffix, 32009]
    assert ids[9:-2] == tokenizer.encode(PREFIX + MIDDLE, with_bos=False)
    assert ids[9 : 9 + len(prefix) - 1] == prefix[:-1]
    assert ids[-2:] == [32010, 2]


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        (starcoder, [1, 610, 315, 45, 3, 731, 303, 461, 2, 125, 0]),
        (deepseek_coder, [32013, 32016, 1551, 267, 7, 32015, 1772, 185, 315, 967, 32017, 87, 32014]),
    ],
)
def test_byte_level_families(load: Callable[[Path], TextTokenizer], wanted: list[int], data_folder: Path) -> None:
    """Their marks are one token each, at their places in the published vocabularies; between them stands what a text has there."""
    tokenizer = load(data_folder)
    marks = choose_marks(PSM, tokenizer.vocabulary)
    ids, _ = encode(cut("def f(", "x", "):\n    return", PSM, marks), tokenizer)
    assert ids == wanted


@pytest.mark.parametrize("load", [starcoder, deepseek_coder, code_llama, gpt2, llama2])
def test_ids_give_the_pieces_back(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    """And what a model is asked with has the ids that it was trained on."""
    tokenizer = load(data_folder)
    marks = marks_of(tokenizer.vocabulary) or OWN
    for config in (PSM, SPM):
        rendered = cut("def f():\n    ré", "sult = '🙂'", "\n  return\n", config, marks)
        ids, _ = encode(rendered, tokenizer)
        last = encode(Rendered(rendered.segments[: -1 if not marks.end else -2]), tokenizer)[0]
        assert ids[: len(last)] == last
        assert tokenizer.decode_after(last, ids[len(last) : -1]) == rendered.completion.removesuffix(marks.end)


@pytest.mark.parametrize("load", [starcoder, deepseek_coder, code_llama])
def test_a_hole_is_asked_with_the_ids_of_its_training(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    tokenizer = load(data_folder)
    marks = choose_marks(PSM, tokenizer.vocabulary)
    for prefix, suffix in (("def f(", "):\n    return"), ("", "x = 1"), ("x", "")):
        learned, _ = encode(cut(prefix, "MIDDLE", suffix, PSM, marks), tokenizer)
        asked = encode_context(hole(prefix, suffix, marks), tokenizer)
        assert asked == learned[: len(asked)]
        assert tokenizer.decode_after(asked, learned[len(asked) : -1]).startswith("MIDDLE")


def test_a_family_that_knows_suffix_first_alone_is_asked_so() -> None:
    assert hole("P", "S", FAMILIES["Codestral"]).text == "[SUFFIX]S[PREFIX] P"


def test_a_tokenizer_without_marks_is_one_line(data_folder: Path) -> None:
    for tokenizer in (gpt2(data_folder), llama2(data_folder)):
        with pytest.raises(UserError, match=r"infilling\.rate=0\.5: this model's tokenizer has no marks for infilling; set"):
            choose_marks(InfillingConfig(rate=0.5), tokenizer.vocabulary)
        assert choose_marks(InfillingConfig(tokens=("<PRE>", "<SUF>", "<MID>")), tokenizer.vocabulary) == OWN


@pytest.mark.parametrize("tokens", [("a", "a", "b"), ("a", "b", "")])
def test_marks_that_cannot_be_told_apart_are_refused(tokens: tuple[str, str, str]) -> None:
    with pytest.raises(UserError, match="must be three, none empty"):
        choose_marks(InfillingConfig(tokens=tokens), ())


def test_a_byte_level_codestral_has_no_space_before_its_prefix() -> None:
    marks = marks_of({"[SUFFIX]": 1, "[PREFIX]": 2})
    assert marks is not None
    assert cut("P", "M", "S", SPM, marks).text == "[SUFFIX]S[PREFIX]PM"
