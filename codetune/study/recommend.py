"""Where to start: from evidence to a recommendation, by a rule that can be said in four sentences. A pure function.

Among the methods that fit the machine:
1. The method that won in one's own studies, if it can be told apart from every other that fits.
2. Of methods that those studies cannot tell apart, the one that needs the least memory, then the least time.
3. Without such a study, the best valid one in a published table of the same model, else of the same size; it has no intervals, and that
   is said.
4. Without that, LoRA, else QLoRA, else what needs the least memory.

Studies are taken by how close they are (`grounds.CLOSENESS`); those farther off are not asked once one is near. Where several equally
close ones name different winners, what all name is taken, else they are as methods that cannot be told apart. A study in which no method
can be told apart from the model as it was does not decide: there is nothing in it to choose by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codetune.config import METHOD_NAMES
from codetune.study.grounds import (
    CLOSENESS,
    Choice,
    Evidence,
    Finding,
    Fit,
    PublishedScore,
    Reason,
    Recommendation,
    Rival,
    RuledOut,
)
from codetune.study.knobs import knobs_of
from codetune.study.tables import format_bytes, format_seconds

OWN, OWN_TIED = "own study, told apart", "own study, least memory"
PUBLISHED, DEFAULT, NOTHING = "published order", "default", "nothing fits"
_DEFAULTS = ("lora", "qlora")
FORECAST = "forecast"


@dataclass(frozen=True, slots=True)
class _Decision:
    method: str
    by: str
    reasons: tuple[Reason, ...]
    rival: Rival | None = None  # the row whose settings are taken over
    finding: Finding | None = None
    cautions: tuple[str, ...] = ()


def recommend(evidence: Evidence) -> Recommendation:
    """The method to start from, why, what else could be, what could not, and what is not known. The same evidence gives the same answer."""
    fitting = {fit.method: fit for fit in evidence.fits if fit.fits}
    in_time = {name: fit for name, fit in fitting.items() if not _too_slow(fit, evidence.hours)}
    allowed = in_time or fitting
    ruled_out = _ruled_out(evidence, allowed)
    if not allowed:
        return Recommendation(
            evidence.model, evidence.data, evidence.machine, "", NOTHING, (_nothing(evidence),), ruled_out=ruled_out,
            unknown=evidence.unknown,
        )  # fmt: skip
    decision = _by_own(evidence, allowed) or _by_published(evidence, allowed) or _by_default(evidence, allowed)
    chosen = allowed[decision.method]
    others = sorted((fit for fit in allowed.values() if fit is not chosen), key=_cost)
    return Recommendation(
        evidence.model, evidence.data, evidence.machine, decision.method, decision.by,
        (*decision.reasons, *_of_the_forecast(evidence, chosen, bool(in_time))),
        knobs_of(evidence, chosen, decision.rival, decision.finding),
        tuple(Choice(fit.method, fit.peak_bytes, fit.seconds, fit.settings) for fit in others),
        ruled_out, (*decision.cautions, *_unknown(evidence, decision)), chosen.peak_bytes, chosen.seconds,
    )  # fmt: skip


def winners(finding: Finding, allowed: Mapping[str, Fit]) -> list[Rival]:
    """The best valid rival whose method is allowed, and those that cannot be told apart from it; best first."""
    rivals = sorted((one for one in finding.rivals if not one.invalid and one.method in allowed), key=lambda one: (-one.score, one.row))
    return [one for one in rivals if one is rivals[0] or (rivals[0].row, one.row) not in finding.apart]


def _by_own(evidence: Evidence, allowed: Mapping[str, Fit]) -> _Decision | None:
    """Rules 1 and 2, from the closest studies that have a valid row of an allowed method."""
    told = [(one, found) for one in evidence.findings if one.decides and (found := winners(one, allowed))]
    if not told:
        return None
    nearest = min(finding.closeness for finding, _ in told)
    near = [(finding, found) for finding, found in told if finding.closeness == nearest]
    groups = [{rival.method for rival in found} for _, found in near]
    common = set.intersection(*groups)
    pool = common or set.union(*groups)
    method = min(pool, key=lambda name: _cost(allowed[name]))
    finding, rival = next((finding, one) for finding, found in near for one in found if one.method == method)
    reasons = [_of_the_study(each, found, allowed) for each, found in near]
    if len(pool) > 1:
        why = "cannot be told apart there" if common else "these studies disagree"
        least = f"{method} needs the least memory ({format_bytes(allowed[method].peak_bytes)})"
        reasons.append(Reason(f"{why}: of {_and(sorted(pool))} {least}", "measured there" if allowed[method].measured else FORECAST))
    return _Decision(method, OWN if len(pool) == 1 else OWN_TIED, tuple(reasons), rival, finding, tuple(_cautions(near, nearest)))


def _by_published(evidence: Evidence, allowed: Mapping[str, Fit]) -> _Decision | None:
    """Rule 3: the table with the most methods that are allowed, the model's own before those of its size."""
    tables: dict[tuple[bool, str, str, str, str], list[PublishedScore]] = {}
    for one in evidence.published:
        if not one.invalid and one.method in allowed:
            tables.setdefault((not one.same_model, one.source, one.model, one.data, one.metric), []).append(one)
    tables = {key: rows for key, rows in tables.items() if len({row.method for row in rows}) > 1}
    if not tables:
        return None
    key = min(tables, key=lambda key: (key[0], -len(tables[key]), key[1:]))
    rows = sorted(tables[key], key=lambda row: (-row.value, row.method))
    best, others = rows[0], [f"{row.method} {row.value:g}" for row in rows[1:]]
    reason = Reason(f"highest {best.metric} of {best.model} on {best.data}: {best.method} {best.value:g}, {', '.join(others)}", best.source)
    cautions = ["published figures have no seeds and no intervals: their order may be chance"]
    if not best.same_model:
        cautions.append(f"{evidence.model} is not in that table: the figures are of {best.model}, which is about as large")
    return _Decision(best.method, PUBLISHED, (reason,), cautions=tuple(cautions))


def _by_default(evidence: Evidence, allowed: Mapping[str, Fit]) -> _Decision:
    method = next((name for name in _DEFAULTS if name in allowed), None) or min(allowed, key=lambda name: _cost(allowed[name]))
    text = {
        "lora": "neither a study nor a table decides: LoRA is the usual start, and fits",
        "qlora": "neither a study nor a table decides: LoRA is the usual start, and fits with its frozen base in 4 bits",
    }.get(method, f"neither LoRA nor QLoRA fits or can be had: {method} needs the least memory of those that do")
    return _Decision(method, DEFAULT, (Reason(text, "codetune's rule"),))


def _of_the_study(finding: Finding, found: Sequence[Rival], allowed: Mapping[str, Fit]) -> Reason:
    """What one study says of the methods that fit: `told apart from full and prefix_tuning`."""
    best = found[0]
    scores = [f"{best.row} {100 * best.score:.1f}"]
    others = [one for one in finding.rivals if one is not best and not one.invalid and one.method in allowed]
    scores += [f"{one.row} {100 * one.score:.1f}" for one in sorted(others, key=lambda one: -one.score)]
    if not others:
        verdict = "the only one of it that fits"
    elif len(found) == 1:
        verdict = f"told apart from {'the other' if len(others) == 1 else f'all {len(others)} others'}"
    else:
        verdict = f"not told apart from {_and([one.row for one in found[1:]])}"
    where = f"{finding.model} on {finding.data}, {finding.benchmark} {finding.metric}"
    return Reason(f"{where}: {', '.join(scores)}; {best.row} is {verdict} ({_seeds(best.seeds)})", finding.study)


def _cautions(near: Sequence[tuple[Finding, Sequence[Rival]]], nearest: int) -> list[str]:
    """What must be said beside one's own studies."""
    said = []
    if nearest > 0:
        names = _and(sorted({f"{finding.model} on {finding.data}" for finding, _ in near}))
        said.append(f"no study of this model on this data: the nearest is of {CLOSENESS[nearest]} ({names})")
    for finding, found in near:
        best = found[0]
        if finding.base and (best.row, finding.base) not in finding.apart:
            said.append(f"{finding.study}: {best.row} is not told apart from the model as it was")
        if max(one.seeds for one in found) < 3:
            said.append(f"{finding.study}: {_seeds(best.seeds)}: how much another seed would change is not in its intervals")
    return list(dict.fromkeys(said))


def _unknown(evidence: Evidence, decision: _Decision) -> list[str]:
    said = [
        f"{one.study} ({one.model} on {one.data}) decides nothing: no method is told apart from the model as it was"
        for one in evidence.findings if not one.decides
    ]  # fmt: skip
    if decision.finding is None and not said:
        said.append(f"no finished study of {evidence.model}, or of one like it, says which method to take: figures of it are from others")
    said += evidence.unknown
    if decision.rival is None or not decision.rival.searched:
        said.append("the learning rate was not searched for on this model and data: `search` in the recipe does that")
    if evidence.hours is not None and any(fit.fits and fit.seconds is None for fit in evidence.fits):
        said.append(f"--hours {evidence.hours:g}: time is not known for {evidence.machine}, as it is not here")
    return said


def _of_the_forecast(evidence: Evidence, chosen: Fit, is_in_time: bool) -> list[Reason]:
    """That it fits, with what settings, and how long it takes."""
    with_what = f" with {_settings(chosen.settings)}" if chosen.settings else ""
    origin = "measured in the study" if chosen.measured else FORECAST
    has = "" if chosen.measured else f"; {evidence.machine} has {format_bytes(evidence.memory_bytes)}"
    text = f"{chosen.method} takes {format_bytes(chosen.peak_bytes)}{with_what}{has}"
    reasons = [Reason(text, origin)] if chosen.peak_bytes is not None else []
    if chosen.seconds is not None:
        limit = "" if evidence.hours is None else f" of {evidence.hours:g} h"
        reasons.append(Reason(f"training takes {format_seconds(chosen.seconds)}{limit}", origin))
    if evidence.hours is not None and not is_in_time:
        reasons.append(Reason(f"nothing is done in {evidence.hours:g} h: the budget is cut so that {chosen.method} is", FORECAST))
    return reasons


def _ruled_out(evidence: Evidence, allowed: Mapping[str, Fit]) -> tuple[RuledOut, ...]:
    """Methods that do not fit, cannot be, or take too long; rows and figures that do not count."""
    found = []
    for fit in evidence.fits:
        if fit.method in allowed:
            continue
        if fit.problem:
            found.append(RuledOut(fit.method, f"cannot be: {fit.problem}"))
        elif not fit.fits:
            needs = f"{format_bytes(fit.peak_bytes)} forecast, {evidence.machine} has {format_bytes(evidence.memory_bytes)}"
            found.append(RuledOut(fit.method, f"does not fit: {needs}, and no setting that leaves the method as it is brings it under"))
        else:
            assert evidence.hours is not None
            found.append(RuledOut(fit.method, f"takes {format_seconds(fit.seconds)}, and {evidence.hours:g} h are allowed"))
    for finding in evidence.findings:
        rows = [one for one in finding.rivals if one.invalid]
        found += [RuledOut(f"{one.row} in {finding.study}", f"its numbers are struck out: {one.invalid}") for one in rows]
    bad = [one for one in evidence.published if one.invalid]
    found += [RuledOut(f"{one.method} {one.metric} {one.value:g} of {one.model} ({one.source})", f"not used: {one.invalid}") for one in bad]
    return tuple(dict.fromkeys(found))


def _nothing(evidence: Evidence) -> Reason:
    """What is missing: the method that is nearest to fitting."""
    large = [fit for fit in evidence.fits if not fit.problem and fit.peak_bytes is not None]
    if not large:
        problems = dict.fromkeys(fit.problem for fit in evidence.fits)
        return Reason(f"no method can be had: {'; '.join(problems) or 'none was looked at'}", FORECAST)
    least = min(large, key=_cost)
    return Reason(
        f"nothing fits: {least.method} needs the least, {format_bytes(least.peak_bytes)}, and {evidence.machine} has "
        f"{format_bytes(evidence.memory_bytes)}; take a smaller model, a shorter train.max_seq_len or a larger machine", FORECAST,
    )  # fmt: skip


def _too_slow(fit: Fit, hours: float | None) -> bool:
    return hours is not None and fit.seconds is not None and fit.seconds > 3600 * hours


def _cost(fit: Fit) -> tuple[float, float, int]:
    """Least memory, then least time, then the order in which codetune names its methods."""
    order = METHOD_NAMES.index(fit.method) if fit.method in METHOD_NAMES else len(METHOD_NAMES)
    return fit.peak_bytes or math.inf, fit.seconds if fit.seconds is not None else math.inf, order


def _settings(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items())


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _and(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
