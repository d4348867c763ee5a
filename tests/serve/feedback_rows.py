"""A feedback file as the server writes it, with a row of every kind: for tests of whatever reads such files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from page_client import page

from codetune.serve.workbench import Workbench

WRONG, RIGHT = "def add(a, b):\n    return a - b\n", "def add(a, b):\n    return a + b\n"
GOOD = ("rated up", "won the vote", "by the user's own hand", RIGHT)  # the last answer of each row that is to be learned
BAD = ("rated down", "lost the vote", "as it was before the edit", WRONG)  # stands in the file, and nothing may ever learn it


def write_feedback(folder: Path) -> Path:
    """Made by asking and judging over HTTP, with a real sandbox for the mended program."""
    answers = {"up": GOOD[0], "down": BAD[0], "edit": BAD[2]}

    def answer(ask: object, index: int) -> str:
        question, model = ask.messages[-1].content, ask.model  # type: ignore[attr-defined]
        return answers.get(question) or (GOOD[1] if model == "tuned" else BAD[1])

    with closing(Workbench(workers=1, memory_mb=256)) as bench, page(folder, answer, workbench=bench) as asked:
        asked.post("/api/feedback/enable", enabled=True)
        for question, rating in (("up", 1), ("down", -1)):
            asked.post("/api/feedback", kind="rate", answer_id=asked.ask(question)["answers"][0]["id"], rating=rating)
        asked.post("/api/feedback", kind="vote", exchange_id=asked.ask("vote", "base", "tuned")["id"], choice=1)
        asked.post("/api/feedback", kind="edit", answer_id=asked.ask("edit")["answers"][0]["id"], content=GOOD[2])
        tests = "assert add(1, 2) == 3"
        asked.post("/api/feedback", kind="mend", question="Add two numbers.", code=WRONG, tests=tests, mended=RIGHT, model="tuned")
    return folder / "feedback.jsonl"
