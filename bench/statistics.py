"""Do the intervals and tests of a study hold what they promise? Simulated studies whose truth is known, judged by codetune's own functions.

    python -m bench statistics [--studies 1000] [--out results.json]

Each line is a kind of study of five rows, a base model of one run and four tuned rows: how many seeds and problems, the pass rate, how
much seeds differ. `means` and `pairs` and `against base` are the share of 95% intervals that hold the truth; `false` the share of studies
in which any pair whose true difference is 0 is told apart after Holm's correction, or one is told apart the wrong way round; the
last column the share of studies where that befell a comparison with the base model; of BLEU, where one pair is looked at, the share of
studies in which it is told apart. It ends with exit code 1 where coverage over seeds
leaves 92-98%, or a false "better" is in more than 6.5% of the studies of one kind.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from bench.environment import say
from bench.simulated import Setting, outcomes, text_counts
from codetune.score.bleu import CONALA
from codetune.score.comparisons import LEVEL, holm
from codetune.study.intervals import Scored, bleu_interval, mean_interval, paired_gap

WHAT = "Simulated studies: do intervals cover what they say, how often is a false difference found."
HOW_LONG = "About two minutes."
COVERAGE, FALSE = (0.92, 0.98), 0.065
RATES = (0.02, 0.05, 0.3, 0.6, 0.95)
SEED_SPREADS = (0.05, 0.2, 0.4)
BATCH = 250  # studies held at a time


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the studies of one kind; shares of intervals, or of studies for the false ones."""

    what: str
    seeds: int
    problems: int
    rate: str
    seed_points: float
    studies: int
    means: float
    pairs: float
    against_base: float
    false: float
    false_against_base: float

    @property
    def holds(self) -> bool:
        covered = [share for share in (self.means, self.pairs, self.against_base) if not np.isnan(share)]
        return self.seeds == 1 or (all(COVERAGE[0] <= share <= COVERAGE[1] for share in covered) and not self.false > FALSE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--out", type=Path, default=None, help="also write all figures here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Simulate, print a line per kind of study, and end with exit code 1 where a promise is not kept."""
    began, found = time.process_time(), []
    print(HEAD)
    for number, setting in enumerate(settings()):
        found.append(simulate(setting, options.studies, options.seed + 1000 * number))
        print(line(found[-1]), flush=True)
    for seeds, problems, level, spread in texts():
        found.append(simulate_texts(seeds, problems, level, spread, options.studies, options.seed))
        print(line(found[-1]), flush=True)
    say(f"{time.process_time() - began:.0f} s of CPU")
    print(summary(found))
    if options.out:
        options.out.write_text(json.dumps([asdict(one) for one in found], indent=1))
    if not all(one.holds for one in found):
        sys.exit(1)


def settings() -> Iterator[Setting]:
    """All kinds of studies of pass rates: rows that are equal, then rows that differ, then a single seed, for what it cannot know."""
    for rate in RATES:
        for problems in (100 if rate > 0.02 else 150, 500):  # 2% of 100 is two problems
            for spread in SEED_SPREADS:
                yield Setting(3, problems, (rate,) * 5, spread)
        for spread in SEED_SPREADS:
            yield Setting(5, 200, (rate,) * 5, spread)
    for rates in ((0.01, 0.02, 0.02, 0.03, 0.05), (0.1, 0.3, 0.3, 0.33, 0.4), (0.8, 0.9, 0.9, 0.95, 0.98)):
        for spread in SEED_SPREADS[:2]:
            yield Setting(3, 300, rates, spread)
    yield Setting(1, 300, (0.3,) * 5, SEED_SPREADS[1])


def texts() -> Iterator[tuple[int, int, float, float]]:
    """Kinds of studies of BLEU: seeds, problems, level of tokens, spread of seeds."""
    for level in (-1.0, 1.0):
        for spread in (0.05, 0.2):
            yield 3, 200, level, spread
    yield 5, 200, 1.0, 0.05
    yield 5, 200, 1.0, 0.2


def simulate(setting: Setting, studies: int, seed: int) -> Found:
    """The studies of one kind, each judged as a study is: intervals of rows, gaps of all pairs, Holm's correction over them."""
    random = np.random.default_rng(seed)
    names = tuple(str(number) for number in range(setting.problems))
    pairs = list(combinations(range(len(setting.rates)), 2))
    covered = np.zeros((len(setting.rates), 2))
    inside = np.zeros(len(pairs))
    false = np.zeros(2)
    for start in range(0, studies, BATCH):
        rows = outcomes(setting, min(BATCH, studies - start), random)
        for study in range(len(rows[0])):
            scored = [Scored(names, row[study]) for row in rows]
            for number, one in enumerate(scored[1:], 1):
                interval = mean_interval(one.passed) if one.passed is not None else None
                covered[number, 0] += interval is not None and interval[0] <= setting.rates[number] <= interval[1]
            gaps = [paired_gap(scored[b], scored[a], "pass@1") for a, b in pairs]
            truths = [setting.rates[b] - setting.rates[a] for a, b in pairs]
            inside += [gap is not None and gap.low <= truth <= gap.high for gap, truth in zip(gaps, truths, strict=True)]
            corrected = holm([gap.p_value if gap else 1.0 for gap in gaps])
            wrong = [
                p < LEVEL and gap is not None and gap.value * truth <= 0 for p, gap, truth in zip(corrected, gaps, truths, strict=True)
            ]
            false += any(wrong), any(one for one, (a, _) in zip(wrong, pairs, strict=True) if a == 0)
    base = np.array([a == 0 for a, _ in pairs])
    rate = f"{100 * setting.rates[0]:g}%" + ("" if setting.equal else f" to {100 * setting.rates[-1]:g}%")
    return Found(
        "equal" if setting.equal else "differing", setting.seeds, setting.problems, rate, setting.seed_points, studies,
        float(covered[1:, 0].mean() / studies), float(inside[~base].mean() / studies), float(inside[base].mean() / studies),
        *(float(share) for share in false / studies),
    )  # fmt: skip


def simulate_texts(seeds: int, problems: int, level: float, spread: float, studies: int, seed: int) -> Found:
    """Studies of BLEU, two equal rows on the same problems: the intervals of a row and of the difference, and how often it is not 0."""
    random = np.random.default_rng([seed, seeds, problems])
    many = [CONALA.score(text_counts(20, 2000, level, spread, random).sum(axis=1)) for _ in range(40)]
    truth, names = float(np.mean(many)), tuple(str(number) for number in range(problems))
    held, false = np.zeros(2), 0
    for _ in range(studies):
        # one draw of problems for both rows: twice the seeds, dealt out
        counts = text_counts(2 * seeds, problems, level, spread, random)
        rows = [Scored(names, bleu_counts=part) for part in (counts[:seeds], counts[seeds:])]
        interval = bleu_interval(rows[0])
        gap = paired_gap(rows[0], rows[1], "bleu")
        assert interval is not None
        assert gap is not None
        held += interval[0] <= truth <= interval[1], gap.low <= 0 <= gap.high
        false += gap.p_value < LEVEL
    nothing = float("nan")
    return Found(
        "BLEU", seeds, problems, f"{100 * truth:.1f}", float(np.std(np.concatenate(many))), studies, *(float(v) for v in held / studies),
        nothing, false / studies, nothing,
    )  # fmt: skip


HEAD = (
    "| rows | seeds | problems | rate, BLEU | sd of seeds, points | means | pairs | against base | false | false against base |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def line(one: Found) -> str:
    """A row of the table."""
    shares = (one.means, one.pairs, one.against_base, one.false, one.false_against_base)
    texts_ = ["" if np.isnan(share) else f"{100 * share:.1f}%" for share in shares]
    mark = "" if one.holds else " **does not hold**"
    return f"| {one.what} | {one.seeds} | {one.problems} | {one.rate} | {100 * one.seed_points:.1f} | " + " | ".join(texts_) + f" |{mark}"


def summary(found: list[Found]) -> str:
    """The extremes over all kinds of studies with several seeds, by number of seeds."""
    lines = []
    for what, seeds in dict.fromkeys((one.what == "BLEU", one.seeds) for one in found if one.seeds > 1):
        these = [one for one in found if one.seeds == seeds and (one.what == "BLEU") == what]
        covered = [share for one in these for share in (one.means, one.pairs, one.against_base) if not np.isnan(share)]
        false = [one.false for one in these]
        lines.append(
            f"{'BLEU' if what else 'pass rates'}, {seeds} seeds, {len(these)} kinds of studies: intervals cover {100 * min(covered):.1f} "
            f"to {100 * max(covered):.1f}% (mean {100 * float(np.mean(covered)):.1f}%); false in at most {100 * max(false):.1f}% of studies"
        )
    return "\n".join(lines)
