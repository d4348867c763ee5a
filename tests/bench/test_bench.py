"""The benchmark's own arithmetic: what is timed, when two trainings count as the same, the ratio, the table, the error's line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.job import Job, Measurement, System
from bench.material import take
from bench.ours import material
from bench.table import Cell, counterpart, disagreement, markdown, ratio
from bench.training import COMPARED, LEARNING_RATES, SYSTEMS, fits
from bench.turns import error_line
from codetune.data.tokenise import join
from tests.forked import Forked, bench

OURS, PEER = System("codetune", peer=False), System("TRL fp32", peer=True)


def job() -> Job:
    ids = [[1] * length for length in (4, 3, 2, 5, 6, 1)]
    return Job(
        system=OURS, method="lora", model="m", adapter=None, start_ids=[1], ids=ids, prompt_lengths=[1] * 6, examples_per_step=2,
        learning_rate=1e-3, row_tokens=7, rows_per_pass=4, examples_per_pass=2, scratch="s",
    )  # fmt: skip


def run(cpu_seconds: float, losses: list[float], tokens_seen: int = 120) -> Measurement:
    return Measurement(cpu_seconds, 2 * cpu_seconds, losses, tokens_seen, 3_000_000_000, {})


def cell(system: System, *repeats: Measurement, failure: str = "") -> Cell:
    return Cell("lora", system, timed_tokens=100, tokens=120, repeats=list(repeats), failure=failure)


def test_a_job_survives_its_file_and_leaves_the_first_step_out_of_the_timing(tmp_path: Path) -> None:
    job().save(tmp_path / "job.json")
    loaded = Job.load(tmp_path / "job.json")
    assert loaded == job()
    assert [list(step) for step in loaded.steps] == [[0, 1], [2, 3], [4, 5]]
    assert (loaded.tokens, loaded.timed_tokens) == (21, 14)


def test_codetune_packs_each_step_s_examples_among_themselves() -> None:
    made = material(job())
    in_step = [sorted(index for row in step for index, _, _ in made.rows[row]) for step in made.steps]
    assert in_step == [[0, 1], [2, 3], [4, 5]]
    assert [sum(stop - start for _, start, stop in row) for row in made.rows] == [7, 7, 7]


def test_whole_steps_until_enough_text_is_timed() -> None:
    examples = join([[1] * 10 for _ in range(5)], [2] * 5)
    ids, prompts = take(examples, timed_tokens=41, examples_per_step=2)
    assert (len(ids), prompts) == (8, [2] * 8)  # two for warm-up, then 20 tokens a step: three steps


def test_the_fastest_repeat_counts() -> None:
    ours, peer = cell(OURS, run(2, [1.0]), run(1, [1.0])), cell(PEER, run(4, [1.0]), run(5, [1.0]))
    assert (ours.tokens_per_cpu_s, ours.tokens_per_wall_s) == (100, 50)
    assert ratio(peer, ours) == 4


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        (cell(PEER, run(4, [2.0019])), ""),
        (cell(PEER, run(4, [2.0021])), "first loss 2.0021, codetune's 2.0000"),
        (cell(PEER, run(4, [2.0], tokens_seen=119)), "it saw 119 text tokens of 120"),
        (cell(PEER, failure="ValueError: no"), "ValueError: no"),
    ],
)
def test_no_ratio_where_the_trainings_differ(peer: Cell, why: str) -> None:
    ours = cell(OURS, run(1, [2.0]))
    assert disagreement(peer, ours) == why
    assert (ratio(peer, ours) is None) == bool(why)


def test_a_peer_is_compared_in_its_own_precision() -> None:
    halved = replace(OURS, name="codetune bf16", precision="bf16")
    cells = [cell(OURS, run(1, [1.0])), cell(halved, run(1, [1.0])), cell(replace(PEER, precision="bf16"), run(1, [1.0]))]
    assert counterpart(cells[2], cells) is cells[1]
    assert disagreement(cells[2], counterpart(cells[2], cells[:1])) == "no run of codetune in this precision to compare with"


def test_the_table_shows_failures_and_disagreements() -> None:
    broken, other = replace(PEER, name="broken"), replace(PEER, name="other")
    cells = [
        cell(OURS, run(1, [2.0, 1.0])),
        cell(PEER, run(4, [2.0, 1.01])),
        cell(other, run(4, [3.0, 1.0])),
        cell(broken, failure="RuntimeError: sizes"),
    ]
    assert markdown(cells).splitlines()[2:] == [
        "| lora | codetune | 100 | 50 | 3.00 GB | first loss 2.0000 | 1 |",
        "| lora | TRL fp32 | 25 | 12 | 3.00 GB | yes: loss within 0e+00 at first, 1e-02 later | 4.00x |",
        "| lora | other | 25 | 12 | 3.00 GB | no: first loss 3.0000, codetune's 2.0000 | - |",
        "| lora | broken | - | - | - | failed: RuntimeError: sizes | - |",
    ]


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        ("a warning\nTraceback (most recent call last):\n  File 'a', line 1\nValueError: sizes 3\n  and 4\nbad\n", "ValueError: sizes 3"),
        ("Traceback (most\n  x\nKeyError: 1\n\nDuring it:\n\nTraceback (most\n  y\nOSError: 2\n", "OSError: 2"),
        ("Killed\n", "Killed"),
        ("", "ended with exit code -9"),
    ],
)
def test_the_first_line_of_a_failure(stderr: str, line: str) -> None:
    assert error_line(stderr, -9) == line


def test_every_method_has_a_learning_rate_and_both_precisions_have_codetune() -> None:
    assert set(LEARNING_RATES) == set(COMPARED)
    assert {system.precision for system in SYSTEMS if not system.peer} == {system.precision for system in SYSTEMS}
    flattened = next(system for system in SYSTEMS if system.padding_free)
    assert [method for method in COMPARED if fits(flattened, method)] == ["full", "lora"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["training", "--methods", "lorra"], 2, "error: no method 'lorra': did you mean 'lora'?"),
        (["training", "--systems", "nobody"], 2, "error: no system's name holds any of 'nobody'"),
        (["training", "--tokens", "0"], 2, "error: --tokens 0 --repeats 3: both must be at least 1"),
    ],
)
def test_the_command_line(arguments: list[str], code: int, said: str) -> None:
    done = Forked(bench, *arguments).ended()
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stderr


def test_the_module_is_a_command() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-m", "bench"], cwd=root, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "python -m bench training" in done.stdout) == (0, True), done.stderr
