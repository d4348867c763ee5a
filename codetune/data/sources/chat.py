"""Conversations, kept whole: `messages` of role and content, and ShareGPT's `conversations` of from and value.

Rows: https://huggingface.co/docs/trl/dataset_formats (conversational) and
https://huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered
"""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data.files import Row, short
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.errors import nearest
from codetune.records import Document, Message

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant",
}  # fmt: skip


def documents(row: Row, config: SourceConfig) -> Iterable[Document]:
    key = next((each for each in ("messages", "conversations", "conversation") if each in row.values), "messages")
    turns = messages(row, key)
    name = row.values.get("id")
    yield Document(name if isinstance(name, str) else "", messages=turns, language="")


def messages(row: Row, *keys_of_turns: str) -> tuple[Message, ...]:
    """The turns under these keys, one after the other; there is an assistant's among them, and someone else's before it."""
    turns = tuple(_message(row, key, turn) for key in keys_of_turns for turn in _turns(row, key))
    answers = [number for number, turn in enumerate(turns) if turn.role == "assistant" and turn.content.strip()]
    if not answers:
        raise row.error("no turn of an assistant; there is nothing to learn")
    if len(turns) < 2:
        raise row.error("the assistant's turn is alone; give what it answers")
    return turns


def _turns(row: Row, key: str) -> list[object]:
    turns = row.values.get(key)
    if not isinstance(turns, list):
        raise row.error(f"{key!r} must be a list of turns, got {short(turns)}" if key in row.values else f"{key!r} is missing")
    return turns


def _message(row: Row, key: str, turn: object) -> Message:
    values = turn if isinstance(turn, dict) else {}
    given = values.get("role", values.get("from"))
    content = _content(values.get("content", values.get("value")))
    if not isinstance(given, str) or content is None:
        raise row.error(f"a turn of {key!r} must have 'role' and 'content' (or 'from' and 'value') as strings, got {short(turn)}")
    if given.lower() not in _ROLES:
        raise row.error(f"a turn of {key!r} is by {short(given)}; {nearest(given, _ROLES)}")
    return Message(_ROLES[given.lower()], content)


def _content(value: object) -> str | None:
    """Text, or a list of parts of text."""
    if not isinstance(value, list):
        return value if isinstance(value, str) else None
    parts = [part.get("text") for part in value if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(map(str, parts)) if len(parts) == len(value) and all(isinstance(part, str) for part in parts) else None


SOURCE = Source(
    "chat",
    documents,
    "conversations: messages of role and content, or ShareGPT's from and value",
    wants=(("messages",), ("conversations",), ("conversation",)),
    schema="https://huggingface.co/docs/trl/dataset_formats",
)
