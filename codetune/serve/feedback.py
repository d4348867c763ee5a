"""What users say of answers, as rows to learn from in `feedback.jsonl`: only where they asked for it, each answer once, as last judged.

A row has `messages` that end with the good answer; what was found bad stands in `rejected`, from where nothing is ever learned. A row
without a good answer ends with the question. `codetune/data/sources/feedback.py` reads them.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from codetune.records import Json
from codetune.runs import append_row, write_atomically
from codetune.serve.history import NEITHER, TIE, Answer, Exchange, History

FILE = "feedback.jsonl"
_SETTING = "feedback"


class Feedback:
    """The file, and whether it is written. Thread-safe."""

    def __init__(self, path: Path, history: History) -> None:
        self.path, self._history, self._lock = path, history, threading.RLock()

    @property
    def enabled(self) -> bool:
        """Off until somebody asks for it; then as it was left."""
        return bool(self._history.setting(_SETTING))

    def enable(self, enabled: bool) -> None:
        """From now on; what is in the file stays, and is still changed where a judgement is."""
        self._history.set_setting(_SETTING, enabled)

    def note(self, exchange: Exchange) -> bool:
        """Have the file say what is thought of an exchange now. Whether it does.

        Other rows of its conversation are written anew where they are there: they hold its answer as what was said before.
        """
        exchanges = self._history.exchanges(exchange.conversation)
        with self._lock:
            known = self._rows()
            of_file = {row["exchange"] for row in known.values() if row.get("conversation") == exchange.conversation and "exchange" in row}
            wanted = of_file | ({exchange.id} if self.enabled else set())
            fresh = {row["id"]: row for number, one in enumerate(exchanges) if one.id in wanted for row in rows_of(exchanges[: number + 1])}
            stale = {id for id, row in known.items() if row.get("exchange") in wanted}
            self._replace(stale, fresh, known)
        return exchange.id in wanted

    def add(self, row: Json) -> bool:
        """A row of another kind, in place of one with its id. Whether it is kept."""
        if not self.enabled:
            return False
        with self._lock:
            self._replace({row["id"]}, {row["id"]: row}, self._rows())
        return True

    def forget(self, exchanges: Iterable[Exchange]) -> None:
        """Take out what is of these exchanges: their conversation was deleted."""
        gone = {exchange.id for exchange in exchanges}
        with self._lock:
            known = self._rows()
            self._replace({id for id, row in known.items() if row.get("exchange") in gone}, {}, known)

    def _replace(self, stale: set[str], fresh: dict[str, Json], known: dict[str, Json]) -> None:
        """Rows stay where they are in the file, new ones go to its end; lines that are none of ours stay, too."""
        kept = {id for id in stale if id in fresh}
        if all(known.get(id) == row for id, row in fresh.items()) and stale & known.keys() == kept:
            return
        if not stale & known.keys():
            for row in fresh.values():
                append_row(self.path, row)
            return
        lines = list[bytes]()
        for line in self._lines():
            id = str(_parsed(line).get("id"))
            if id not in stale:
                lines.append(line)
            elif id in fresh:
                lines.append(_line(fresh[id]))
        lines += [_line(row) for id, row in fresh.items() if id not in known]
        write_atomically(self.path, lambda file: file.write(b"".join(line + b"\n" for line in lines)))

    def _rows(self) -> dict[str, Json]:
        return {str(row["id"]): row for line in self._lines() if "id" in (row := _parsed(line))}

    def _lines(self) -> list[bytes]:
        with contextlib.suppress(FileNotFoundError):
            return [line for line in self.path.read_bytes().split(b"\n") if line.strip()]
        return []


def rows_of(exchanges: Sequence[Exchange]) -> Iterator[Json]:
    """What is to be learned from the last exchange of a conversation: a row for each good answer, else one that only says what was bad."""
    *before, last = exchanges
    rejected = [
        {"content": answer.content, "model": answer.asked.model, "why": why}
        for answer in last.answers
        if answer.content and (why := _why_bad(answer, last))
    ]
    messages, spoilt = list[Json](), False
    for exchange in before:
        if (taken := exchange.taken) is not None:
            spoilt |= taken.edited is None and bool(_why_bad(taken, exchange))
            messages += _turns(exchange.question, taken.edited or taken.content)
    about = {"conversation": last.conversation, "exchange": last.id, "rejected": rejected, "time": last.created}
    about |= {"after_rejected": True} if spoilt else {}
    good = [(answer, kind) for answer in last.answers if (kind := _why_good(answer, last))]
    for answer, kind in good:
        turns = [*messages, *_turns(last.question, answer.edited or answer.content)]
        yield {"id": f"answer-{answer.id}", "kind": kind, "messages": turns, **about, **made_by(answer)}
    if rejected and not good:
        kind = "vote" if last.choice == NEITHER else "rating"
        yield {"id": f"exchange-{last.id}", "kind": kind, "messages": [*messages, *_turns(last.question)], **about}


def made_by(answer: Answer) -> Json:
    asked = answer.asked
    return {
        "model": asked.model, "base": asked.base, "adapter": None if asked.method == "base" else asked.model, "method": asked.method,
        "prompt_style": asked.prompt_style, "decoding": asked.decoding, "version": asked.version,
    }  # fmt: skip


def _why_good(answer: Answer, exchange: Exchange) -> str:
    """The kind of judgement that makes it an answer to learn from; "" where there is none."""
    if answer.edited:
        return "edit"
    if not answer.content or _why_bad(answer, exchange):
        return ""
    return "vote" if _decided(exchange) else "rating" if answer.rating == 1 else ""


def _why_bad(answer: Answer, exchange: Exchange) -> str:
    """Why what the model wrote is not to be learned; "" where nobody said so."""
    if exchange.choice == NEITHER:
        return "neither was good"
    if _decided(exchange) and answer.side != exchange.choice:
        return "the other was better"
    if answer.rating == -1:
        return "rated down"
    return "edited" if answer.edited else ""


def _decided(exchange: Exchange) -> bool:
    return exchange.choice not in (None, TIE, NEITHER)


def _turns(question: str, answer: str | None = None) -> list[Json]:
    turns = [{"role": "user", "content": question}]
    return turns if answer is None else [*turns, {"role": "assistant", "content": answer}]


def _parsed(line: bytes) -> Json:
    with contextlib.suppress(ValueError):
        if isinstance(row := json.loads(line), dict):
            return row
    return {}


def _line(row: Json) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()
