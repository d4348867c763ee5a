"""What is compared and how sure it is: tables by hand, pairing over problems and seeds, and which interval stands where."""

import json

import pytest
from study_fixture import WAYS, build_study

from codetune.data.benchmarks import Benchmark
from codetune.evaluate import score_samples
from codetune.records import Problem, Sample, to_json
from codetune.runs import write_json, write_rows
from codetune.score.bleu import CONALA, bleu
from codetune.score.crossed import crossed_difference
from codetune.score.statistics import paired_difference
from codetune.study.cells import Outcome, read_problems, read_study, write_problems
from codetune.study.intervals import bleu_interval, paired_gap, table_of
from codetune.study.summary import blocks_of, cell_json
from codetune.study.view import differences

PROBLEMS = [Problem(str(n), reference=f"total = sum(values) + {n}\nprint(total, values)") for n in range(8)]


def outcomes(verdicts, programs=None):
    return [
        Outcome(str(n), 0, programs[n] if programs else "", "", "passed" if passed else "wrong_answer", "", {})
        for n, passed in enumerate(verdicts)
    ]


def load(folder):
    study = read_study(folder)
    return blocks_of(study, {name: read_problems(folder, name) for name in ("basics-known", "basics-unseen")})


def test_samples_of_a_problem_are_averaged_before_anything_else():
    samples = [("a", 0, "passed", 1.0), ("a", 1, "wrong_answer", 0.5), ("b", 0, "passed", 0.0)]
    table = table_of({0: [Outcome(task, index, "", "", verdict, "", {"x": x}) for task, index, verdict, x in samples]}, (), None)
    assert table.task_ids == ("a", "b")
    assert table.passed.tolist() == [[0.5, 1.0]]
    assert table.metrics["x"].tolist() == [[0.75, 0.0]]


def test_only_problems_that_every_seed_answered_count():
    table = table_of({0: outcomes([1, 0, 1]), 1: outcomes([1, 1])}, (), None)
    assert table.task_ids == ("0", "1")
    assert table.passed.tolist() == [[1, 0], [1, 1]]


def test_a_pair_with_one_seed_is_the_published_paired_rule():
    ours, theirs = [1, 1, 1, 0, 1, 0], [0, 1, 0, 0, 0, 1]
    gap = paired_gap(table_of({0: outcomes(ours)}, (), None), table_of({7: outcomes(theirs)}, (), None), "pass@1")
    expected = paired_difference(ours, theirs)
    assert (gap.value, gap.low, gap.high, gap.p_value) == (expected.value, expected.low, expected.high, expected.p_value)
    assert (gap.wins, gap.losses) == (3, 1)


def test_rows_are_paired_by_problem_whatever_their_order():
    ours = outcomes([1, 0, 1, 0])
    gap = paired_gap(table_of({0: ours}, (), None), table_of({0: ours[::-1]}, (), None), "pass@1")
    assert (gap.value, gap.wins, gap.losses) == (0.0, 0, 0)


def test_one_run_of_the_base_model_stands_beside_every_seed():
    ours, base = [[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], [0, 1, 0, 0]
    table = table_of({seed: outcomes(row) for seed, row in enumerate(ours)}, (), None)
    gap = paired_gap(table, table_of({0: outcomes(base)}, (), None), "pass@1")
    expected = crossed_difference(ours, [base])
    assert (gap.value, gap.low, gap.high, gap.p_value) == (expected.value, expected.low, expected.high, expected.p_value)
    assert gap.runs == (3, 1)


def test_bleu_has_an_interval_only_where_the_reported_value_can_be_had_again():
    programs = [p.reference if n % 2 else "total = max(values)\nprint(total)" for n, p in enumerate(PROBLEMS)]
    reported = bleu([(program, [p.reference]) for program, p in zip(programs, PROBLEMS, strict=True)])
    table = table_of({0: outcomes([0] * 8, programs)}, PROBLEMS, reported)
    low, high = bleu_interval(table)
    assert low < reported < high
    assert table_of({0: outcomes([0] * 8, programs)}, PROBLEMS, reported + 0.01).bleu_counts is None
    assert table_of({0: outcomes([0] * 8, programs)}, (), reported).bleu_counts is None


def test_bleu_over_seeds_is_the_mean_of_corpus_bleus_and_lies_in_its_interval():
    runs = {
        seed: outcomes([0] * 8, [p.reference if n % (seed + 2) else "total = max(values)\nprint(total)" for n, p in enumerate(PROBLEMS)])
        for seed in range(3)
    }
    each = [bleu([(o.completion, [PROBLEMS[int(o.task_id)].reference]) for o in run]) for run in runs.values()]
    table = table_of(runs, PROBLEMS, sum(each) / 3)
    low, high = bleu_interval(table)
    assert 0 <= low < sum(each) / 3 < high <= 1
    worst = table_of({0: runs[0]}, PROBLEMS, each[0])
    gap = paired_gap(table, worst, "bleu")
    assert gap.value == pytest.approx(sum(each) / 3 - each[0], abs=1e-12)
    assert gap.low < gap.value < gap.high


def test_a_row_is_the_mean_of_its_seeds(tmp_path):
    folder = build_study(tmp_path, seeds=3, problems=20, ways=WAYS[:1] + WAYS[2:4])
    (block,) = load(folder)
    lora = next(row for row in block.rows if row.label == "lora")
    assert lora.seeds == (0, 1, 2)
    each = [json.loads((cell.path / "result.json").read_text())["benchmarks"]["basics-known"]["pass_at_k"]["1"] for cell in lora.cells]
    measure = lora.measures["basics-known:pass@1"]
    assert measure.mean == pytest.approx(sum(each) / 3)
    assert measure.low < measure.mean < measure.high
    found = cell_json(block, lora)
    assert found["seeds"] == [0, 1, 2]
    assert found["metrics"]["basics-known:pass@1"] == measure.mean
    assert found["ci95"]["basics-known:pass@1"] == [measure.low, measure.high]


def test_base_rows_come_first_and_the_others_in_the_recipes_order(tmp_path):
    folder = build_study(tmp_path, problems=6, ways=WAYS[::-1])
    (block,) = load(folder)
    assert [row.label for row in block.rows] == ["base", "base few-shot", "prompt_tuning", "prefix_tuning", "lora", "full"]


def test_an_invalid_row_is_neither_ranked_nor_compared(tmp_path):
    folder = build_study(tmp_path, problems=20)
    path = next(p for p in (folder / "cells").glob("*/result.json") if json.loads(p.read_text())["cell"]["row"] == "full")
    result = json.loads(path.read_text())
    result["gates"].append({"name": "reload", "level": "invalid", "value": 0.5, "threshold": "<= 1e-05", "message": "reload differs"})
    path.write_text(json.dumps(result))
    (block,) = load(folder)
    full = next(row for row in block.rows if row.label == "full")
    assert full.invalid_cause == "reload differs"
    assert block.ranked("basics-known")[0].label == "lora"
    assert "full" not in {d.row for d in differences(block, "basics-known")}
    assert cell_json(block, full)["valid"] is False
    assert cell_json(block, full)["invalid_cause"] == "reload differs"


def test_base_rows_without_data_of_their_own_join_every_data_set(tmp_path):
    folder = build_study(tmp_path, problems=6, ways=(*WAYS[:1], *WAYS[2:4]))
    for path in (folder / "cells").glob("*/result.json"):
        result = json.loads(path.read_text())
        result["cell"]["data"] = {"base": "", "full": "basics", "lora": "conala"}[result["cell"]["row"]]
        path.write_text(json.dumps(result))
    blocks = load(folder)
    found = {block.data: [row.label for row in block.rows] for block in blocks}
    assert found == {"basics": ["base", "full"], "conala": ["base", "lora"]}


def test_counts_are_those_of_the_official_tokeniser():
    table = table_of({0: outcomes([1], ["f(a)"])}, [Problem("0", reference="f(b)")], bleu([("f(a)", ["f(b)"])]))
    assert table.bleu_counts[0].tolist() == CONALA.counts([("f(a)", ["f(b)"])]).tolist()


def test_what_evaluate_writes_gives_bleu_its_interval(tmp_path):
    problems = (Problem("h/0", prompt="def f(x):\n", reference="    return x + 1\n"), Problem("h/1", "Sum it.", reference="sum(values)"))
    benchmark = Benchmark("mine", "text", problems, "", "")
    samples = [Sample("h/0", "    return x + 2\n"), Sample("h/1", "sum(values, 0)")]
    scores = score_samples(benchmark, samples, None)
    cell = tmp_path / "cells" / "one"
    write_rows(cell / "samples-mine.jsonl", map(to_json, samples))
    write_rows(cell / "scores-mine.jsonl", map(to_json, scores.samples))
    name = {"model": "m", "method": "base", "row": "base", "data": "d", "seed": 0}
    write_json(cell / "result.json", {"cell": name, "train": None, "benchmarks": {"mine": scores.summary()}, "gates": []})
    write_problems(tmp_path, "mine", problems)
    (block,) = blocks_of(read_study(tmp_path), {"mine": read_problems(tmp_path, "mine")})
    measure = block.rows[0].measures["mine:bleu"]
    assert measure.mean == scores.metrics["bleu"]
    assert measure.low <= measure.mean <= measure.high
    assert block.rows[0].measures["mine:rouge_l"].low is not None
