"""Votes on a blind sheet, read back: checked against the sheet's key, kept in the study's folder, and made a preference rate."""

from __future__ import annotations

import hashlib
import json
import statistics as stdlib_statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.errors import UserError
from codetune.records import Json
from codetune.runs import read_json, write_json
from codetune.score import statistics
from codetune.study.judge import FOLDER, KEY_FORMAT, QUESTIONS, sheet_id
from codetune.study.tables import format_percent
from codetune.study.words import interval_text

VOTES_FORMAT = "codetune votes 1"
SIDES = ("left", "right", "same")


@dataclass(frozen=True, slots=True)
class Preference:
    """How one question came out. `rate` is the share of decided votes for the first row, with its 95% interval; None without such votes.

    One judge: Wilson's interval on the decided votes. Several: votes on one problem are no independent ones, so each problem counts
    once, with the share of its decided votes (`codetune.score.statistics.mean_interval`).
    """

    question: str
    first: int  # votes for the first row
    second: int
    same: int  # votes for neither
    rate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """One sheet with all votes on it. `agreement`: of votes of different judges on one pair and question, the share that are equal."""

    sheet: str
    model: str
    data: str
    benchmark: str
    rows: tuple[str, str]
    judges: tuple[str, ...]
    pairs: int
    identical: int  # pairs of the same text, which nobody was asked about
    preferences: tuple[Preference, ...]
    agreement: float | None
    executed: tuple[int, int] | None  # votes on correctness where one passes its tests and one does not: for the one that passes, of all

    @property
    def title(self) -> str:
        return f"{self.rows[0]} and {self.rows[1]} on {self.benchmark}"


def add_votes(study_dir: Path, files: Sequence[Path]) -> list[Judgement]:
    """Votes into the study's folder, all files or none; a judge who sends a sheet again replaces the votes from before.

    Raises UserError, with the file's name, for what is no votes file, was changed after its export, or is of another study's sheet.
    """
    if not (study_dir / "cells").is_dir():
        raise UserError(f"{study_dir} holds no study (no folder cells/): give the folder that `codetune study run` wrote")
    found: dict[tuple[str, str], Json] = {}
    for path in files:
        votes = _checked(study_dir, path)
        place = (votes["sheet"], votes["judge"])
        if place in found and found[place]["votes"] != votes["votes"]:
            raise UserError(f"{path}: another file given here has other votes of {votes['judge']!r} on the same sheet: give one of them")
        found[place] = votes
    for (sheet, judge), votes in found.items():
        name = hashlib.sha256(judge.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        write_json(study_dir / FOLDER / sheet / f"votes-{name}.json", votes)
    sheets = {sheet for sheet, _ in found}
    return [judgement for judgement in read_judgements(study_dir) if judgement.sheet in sheets]


def read_judgements(study_dir: Path) -> list[Judgement]:
    """Every sheet of a study that has votes. Raises UserError where a key or a votes file is damaged."""
    folder = study_dir / FOLDER
    found = []
    for path in sorted(folder.glob("*/key.json")):
        votes = [_checked(study_dir, kept) for kept in sorted(path.parent.glob("votes-*.json"))]
        found.append(_judgement(_key(path), votes))
    return [judgement for judgement in found if judgement is not None]


def preference_sentences(judgement: Judgement) -> list[str]:
    """What the votes say, each question in a sentence, ties and agreement stated."""
    first, second = judgement.rows
    said = []
    for one in judgement.preferences:
        ties = f"{one.same} votes for neither"
        if one.rate is None:
            said.append(f"{one.question}: no vote for either row, {ties}")
            continue
        sure = interval_text(one.low, one.high)
        votes = f"{one.first} of {one.first + one.second} decided votes"
        said.append(f"{one.question}: {first} over {second} in {format_percent(one.rate)} ({sure}; {votes}; {ties})")
    if judgement.identical:
        said.append(f"{judgement.identical} of {judgement.pairs} pairs are the same text twice and were not asked about")
    if judgement.agreement is not None:
        equal = format_percent(judgement.agreement, 0)
        said.append(f"two judges give the same answer in {equal} of the pairs and questions that both answered")
    if judgement.executed is not None:
        right, total = judgement.executed
        where = "where one of the two passes its tests and the other does not"
        said.append(f"{where}, {right} of {total} votes on correctness are for the one that does")
    return said


def checksum(sheet: str, judge: str, votes: Mapping[str, Mapping[str, str]]) -> str:
    """FNV-1a (32 bits) over all votes, as the sheet's script computes it: it finds damage and edits by hand, and stops no fraud."""
    lines = [sheet, judge, *sorted(f"{pair} {question} {side}" for pair, answers in votes.items() for question, side in answers.items())]
    value = 0x811C9DC5
    for byte in "\n".join(lines).encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value:08x}"


def _key(path: Path) -> Json:
    key = read_json(path)
    if not isinstance(key, dict) or key.get("format") != KEY_FORMAT or key.get("sheet") != sheet_id(key):
        raise UserError(f"{path} is no key of a sheet, or was changed: put back the .key.json that was written beside the sheet")
    return key


def _checked(study_dir: Path, path: Path) -> Json:
    """A votes file that is whole, unchanged, and of a sheet of this study."""
    try:
        votes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as votes ({error}): export them again from the sheet") from None
    if not isinstance(votes, dict) or votes.get("format") != VOTES_FORMAT or not isinstance(votes.get("votes"), dict):
        raise UserError(f"{path} is no votes file: give the one that the sheet's button exports")
    sheet, judge = votes.get("sheet"), votes.get("judge")
    kept = {entry.parent.name for entry in (study_dir / FOLDER).glob("*/key.json")}
    if not isinstance(sheet, str) or sheet not in kept:
        there = ", ".join(sorted(kept)) or "none"
        which = f"{sheet!r}, which was not made from {study_dir} (its sheets: {there})"
        raise UserError(f"{path} is of the sheet {which}: give the study it is of")
    if not isinstance(judge, str) or not judge.strip():
        raise UserError(f"{path} does not say who judged: type a name into the sheet and export again")
    asked = {pair["pair"] for pair in _key(study_dir / FOLDER / sheet / "key.json")["pairs"] if pair["asked"]}
    _check_answers(path, votes["votes"], asked)
    if votes.get("check") != checksum(sheet, judge, votes["votes"]):
        raise UserError(f"{path} was changed after it was exported (its checksum does not fit): export it again from the sheet")
    return {name: votes[name] for name in ("format", "sheet", "judge", "votes", "check")}


def _check_answers(path: Path, votes: Mapping[str, Any], asked: set[str]) -> None:
    for pair, answers in votes.items():
        if pair not in asked:
            raise UserError(f"{path} votes on a pair {pair!r} that the sheet does not have: export it again from the sheet")
        given = answers.items() if isinstance(answers, dict) else [("", answers)]
        for question, side in given:
            if question not in QUESTIONS or side not in SIDES:
                raise UserError(f"{path}, pair {pair}: {question!r}: {side!r} is no vote (left, right or same on {' or '.join(QUESTIONS)})")


def _judgement(key: Json, votes: Sequence[Json]) -> Judgement | None:
    if not any(one["votes"] for one in votes):
        return None
    pairs = {pair["pair"]: pair for pair in key["pairs"]}
    first, second = key["rows"]
    return Judgement(
        sheet=key["sheet"],
        model=key["model"],
        data=key["data"],
        benchmark=key["benchmark"],
        rows=(first, second),
        judges=tuple(one["judge"] for one in votes),
        pairs=len(pairs),
        identical=sum(not pair["asked"] for pair in pairs.values()),
        preferences=tuple(_preference(question, first, pairs, votes) for question in QUESTIONS),
        agreement=_agreement(votes),
        executed=_with_verdicts(pairs, votes),
    )


def _preference(question: str, first: str, pairs: Mapping[str, Json], votes: Sequence[Json]) -> Preference:
    decided: dict[str, list[bool]] = {}  # pair -> whether each vote was for the first row
    same = 0
    for one in votes:
        for pair, answers in one["votes"].items():
            side = answers.get(question)
            if side == "same":
                same += 1
            elif side is not None:
                decided.setdefault(pair, []).append(pairs[pair][side]["row"] == first)
    given = [vote for found in decided.values() for vote in found]
    if not given:
        return Preference(question, 0, 0, same, None, None, None)
    if len(votes) == 1:
        found = statistics.wilson_interval(sum(given), len(given))
    else:
        found = statistics.mean_interval([stdlib_statistics.fmean(one) for one in decided.values()])
    return Preference(question, sum(given), len(given) - sum(given), same, found.value, found.low, found.high)


def _agreement(votes: Sequence[Json]) -> float | None:
    equal = [
        one["votes"][pair][question] == other["votes"][pair][question]
        for number, one in enumerate(votes)
        for other in votes[number + 1 :]
        for pair in one["votes"].keys() & other["votes"].keys()
        for question in one["votes"][pair].keys() & other["votes"][pair].keys()
    ]
    return stdlib_statistics.fmean(equal) if equal else None


def _with_verdicts(pairs: Mapping[str, Json], votes: Iterable[Json]) -> tuple[int, int] | None:
    told = []
    for one in votes:
        for pair, answers in one["votes"].items():
            passed = {side: pairs[pair][side]["verdict"] == "passed" for side in ("left", "right") if pairs[pair][side]["verdict"]}
            if "correctness" in answers and len(set(passed.values())) == 2:
                told.append(passed.get(answers["correctness"], False))
    return (sum(told), len(told)) if told else None
