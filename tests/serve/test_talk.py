"""A talk: what the model is given of it, what stays of an answer that is given up, what is forgotten, and the file of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codetune.config import DecodingConfig
from codetune.data.sources import load_documents
from codetune.errors import UserError
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask, TooLongError, UnknownModelError
from codetune.records import Message
from codetune.serve.remember import without_oldest
from codetune.serve.talk import Talk

ASKED, ANSWERED = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def echo(ask: Ask, index: int) -> str:
    return f"answer to {ask.messages[-1].content}"


def engine(pause_s: float = 0.0) -> FakeLiveEngine:
    return FakeLiveEngine(echo, ("base", "lora"), pause_s)


def text(talk: Talk, question: str) -> str:
    return "".join(piece.text for piece in talk.ask(question))


def test_earlier_turns_and_the_system_message_are_asked_with() -> None:
    fake = engine()
    talk = Talk(fake, system="Be short.")
    assert text(talk, "one") == "answer to one"
    text(talk, "two")
    assert [(each.role, each.content) for each in fake.asked[1].messages] == [
        ("system", "Be short."), ("user", "one"), ("assistant", "answer to one"), ("user", "two"),
    ]  # fmt: skip


def test_what_was_written_of_an_answer_that_is_given_up_stays() -> None:
    talk = Talk(engine(pause_s=0.001))
    answer = talk.ask("a b c")
    assert next(answer).text == "answer"
    answer.close()
    assert talk.turns == [Message("user", "a b c"), Message("assistant", "answer")]
    assert talk.finish == "cancelled"


def test_a_question_without_an_answer_does_not_stay_but_can_be_asked_again() -> None:
    answers = iter(["", "now"])
    talk = Talk(FakeLiveEngine(lambda ask, index: next(answers)))
    assert text(talk, "x") == ""
    assert talk.turns == []
    assert "".join(piece.text for piece in talk.retry()) == "now"
    assert talk.turns == [Message("user", "x"), Message("assistant", "now")]


def test_retry_takes_the_place_of_the_last_answer_and_draws_with_the_next_seed() -> None:
    fake = engine()
    talk = Talk(fake, decoding=DecodingConfig(temperature=0.5, seed=3))
    text(talk, "one")
    list(talk.retry())
    assert [ask.decoding.seed for ask in fake.asked] == [3, 4]
    assert fake.asked[1].messages == (Message("user", "one"),)
    assert len(talk.turns) == 2


def test_an_answer_stays_where_its_retry_gives_none() -> None:
    answers = iter(["first", ""])
    talk = Talk(FakeLiveEngine(lambda ask, index: next(answers)))
    text(talk, "x")
    list(talk.retry())
    assert talk.turns == [Message("user", "x"), Message("assistant", "first")]


@pytest.mark.parametrize(("words", "left_out"), [(800, 0), (900, 1), (1300, 1), (2500, 2)])
def test_the_oldest_exchanges_are_left_out_where_an_answer_would_have_no_room(words: int, left_out: int) -> None:
    """The fake counts words and has 4096 positions. The two exchanges before have some 1256 and 1756, and an answer may have 256: 900
    leave no room for it, 1300 do not even fit."""
    fake = engine()
    talk = Talk(fake, system="s ")
    text(talk, "a " * 1000)
    text(talk, "b " * 1500)
    text(talk, "c " * words)
    assert talk.left_out == left_out
    assert [each.content[:2] for each in fake.asked[-1].messages if each.role != "assistant"] == ["s ", *["a ", "b ", "c "][left_out:]]
    assert len(talk.turns) == 6  # nothing is lost of the talk itself


def test_a_question_that_is_too_long_alone_is_refused_and_leaves_the_talk_as_it_was() -> None:
    talk = Talk(engine())
    text(talk, "short")
    with pytest.raises(TooLongError):
        text(talk, "word " * 5000)
    assert [each.content for each in talk.turns] == ["short", "answer to short"]


def test_an_answer_is_promised_a_quarter_of_the_positions_at_most() -> None:
    fake = engine()
    talk = Talk(fake, decoding=DecodingConfig(max_new_tokens=100_000))
    text(talk, "one")
    text(talk, "two")
    assert talk.left_out == 0
    assert len(fake.asked[-1].messages) == 3


def test_without_oldest_keeps_the_system_message_and_the_question() -> None:
    s, u1, a1, u2 = (Message(role, role) for role in ("system", "user", "assistant", "user"))
    assert without_oldest((s, u1, a1, u2)) == (s, u2)
    assert without_oldest((s, u2)) == ()


def test_a_saved_talk_goes_on_and_is_data_to_learn_from(tmp_path: Path) -> None:
    talk = Talk(engine(), "lora", DecodingConfig(temperature=0.3, seed=5), "alpaca", system="Be short.")
    text(talk, "one")
    path = tmp_path / "talk.jsonl"
    talk.save(path)
    text(talk, "two")
    talk.save(path)  # its own file

    other = Talk(engine())
    assert other.load(path) == []
    assert (other.messages, other.model, other.style, other.decoding) == (talk.messages, "lora", "alpaca", talk.decoding)
    (document,) = load_documents(str(path))
    assert document.messages == talk.messages


def test_a_file_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    talk, path = Talk(engine()), tmp_path / "mine.py"
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match="nothing to save yet"):
        talk.save(path)
    text(talk, "one")
    with pytest.raises(UserError, match="is there already and not this talk"):
        talk.save(path)
    assert path.read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "line 1"),
        ({"messages": []}, "no turn of an assistant"),
        ({"messages": [ASKED, ASKED, ANSWERED]}, "by turns"),
        ({"messages": [ASKED, ANSWERED], "settings": {"seed": "x"}}, "seed"),
        ({"messages": [ASKED, ANSWERED], "settings": 3}, "must be an object"),
    ],
)
def test_a_file_that_is_no_talk_changes_nothing(tmp_path: Path, row: object, says: str) -> None:
    talk, path = Talk(engine()), tmp_path / "talk.jsonl"
    text(talk, "mine")
    path.write_text(row if isinstance(row, str) else json.dumps(row))
    with pytest.raises(UserError, match=says):
        talk.load(path)
    assert [each.content for each in talk.turns] == ["mine", "answer to mine"]


def test_a_talk_of_another_model_is_loaded_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    turns = [ASKED, ANSWERED, {"role": "user", "content": "open"}]
    path.write_text(json.dumps({"messages": turns, "settings": {"model": "gone"}}))
    talk = Talk(engine())
    assert talk.load(path) == ["no model 'gone' is here: valid: base, lora"]
    assert (talk.model, talk.question, len(talk.turns)) == ("base", "open", 2)


def test_what_there_is_not_is_named_with_what_there_is() -> None:
    talk = Talk(engine())
    with pytest.raises(UnknownModelError, match="did you mean 'lora'"):
        talk.choose_model("lore")
    with pytest.raises(UserError, match="base has no prompt style 'alpaka': did you mean 'alpaca'"):
        talk.choose_style("alpaka")
    with pytest.raises(UserError, match="did you mean 'temperature'"):
        talk.set("temprature", "1")
    with pytest.raises(UserError, match="temperature"):
        talk.set("temperature", "-1")
    talk.choose_style("alpaca")
    talk.choose_model("lora")
    assert (talk.model, talk.style) == ("lora", "instruction")
