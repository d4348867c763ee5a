"""What docs/performance.md says: a measured ratio beside what was asked, and that what was not measured is called so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_bench import job

from bench import environment
from bench.__main__ import BENCHMARKS, main
from bench.every import wanted
from bench.goals import GOALS, Target, goal, targets
from bench.job import Measurement
from bench.packed_prompts import fills
from bench.page import measured_targets, text, write
from bench.results import compared, keep, read, record
from bench.results import write as write_record
from bench.scaling import make_record as scaling_record
from bench.scaling import verdict
from bench.scaling_series import SERIES, exponent
from bench.step import AUTOCAST, OURS, PLAIN, TRL, make_record, report
from bench.table import Cell
from bench.turns import worker
from codetune.errors import UserError


def step_record(**more: Any) -> dict[str, Any]:
    row = compared("LoRA", "TRL", 620.0, 180.0, "text tokens per CPU s", "yes: loss within 1e-05 at first", ("G1", 0))
    return record("step", [row | more], [0.1, 0.4], {"torch": "2"}, operations_per_cpu_s={"bf16": 1.0})


def line_of(page: str, *words: str) -> str:
    found = [line for line in page.splitlines() if line.startswith("|") and all(word in line for word in words)]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("must", "aim", "ratio", "place"),
    [
        (3, 5, 2.99, "below must"), (3, 5, 3, "met must"), (3, 5, 5, "met aim"), (0.6, 0.45, 0.61, "below must"),
        (0.6, 0.45, 0.5, "met must"), (0.6, 0.45, 0.45, "met aim"),
    ],
)
def test_the_place_of_a_ratio_whichever_way_is_better(must: float, aim: float, ratio: float, place: str) -> None:
    assert Target("a peer", must, aim).place(ratio) == place


def test_every_target_has_a_line_and_what_was_not_measured_says_so() -> None:
    page = text([])
    for each, target in targets():
        line = line_of(page, f"| {each.name} |", f"| {target.against} |", f"| {target.written(target.aim)} |")
        assert line.endswith("| - | not measured: needs a GPU |" if target.where == "GPU" else "| - | not measured |")
    assert [each.name for each in GOALS] == ["G1", "G1b", *(f"G{number}" for number in range(2, 14))]


def test_a_measured_target_has_its_ratio_and_place_and_the_others_of_its_goal_do_not() -> None:
    page = text([step_record()])
    assert "| **3.44x** | met must |" in line_of(page, "| G1 |")
    assert line_of(page, "| G2 |").endswith("| - | not measured |")
    assert "| LoRA | TRL | 620 | 180 | text tokens per CPU s | 3.44 | yes: loss within 1e-05 at first |" in page
    assert "load 0.1 to 0.4" in page


def test_a_row_of_other_work_answers_no_target() -> None:
    assert not measured_targets([step_record(must=None, aim=None)])
    assert not measured_targets([step_record(goal="G2")])  # its must and aim are G1's


def test_a_comparison_that_is_none_has_no_ratio_but_its_reason() -> None:
    row = compared("LoRA", "TRL", None, 180.0, "tokens", "no: first loss 3.0, codetune's 2.0", ("G1", 0))
    assert line_of(text([record("step", [row], [0.1], {})]), "| G1 |").endswith("| - | no ratio: no: first loss 3.0, codetune's 2.0 |")


def test_a_record_is_kept_with_what_was_printed_and_one_that_is_none_replaces_nothing(tmp_path: Path) -> None:
    written = tmp_path / "out.json"
    written.write_text(json.dumps(step_record(bulky=1) | {"long": [1, 2]}))
    kept = keep(written, "step", "python -m bench step", " a table \n", ("long",), tmp_path / "kept")
    (found,) = read(tmp_path / "kept")
    assert (found["report"], found["command"], "long" in found) == ("a table", "python -m bench step", False)
    before = kept.read_bytes()
    written.write_text(json.dumps({"benchmark": "step", "machine": {}, "load": [], "rows": [{"what": "x"}]}))
    with pytest.raises(UserError, match=r"is no benchmark's record: it has no rows\[\]\.against, .*measure it again"):
        keep(written, "step", "", "", folder=tmp_path / "kept")
    assert kept.read_bytes() == before


def test_the_page_and_its_figures_are_written_from_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "performance"
    points = [{"series": "adapters", "variant": "lora", "size": n, "cpu_s_per_token": 0.1, "grown_bytes": 100 * n} for n in (1, 2, 4)]
    for name, found in (("step", step_record()), ("scaling", scaling_record(["adapters"], points, [0.1], True))):
        (tmp_path / "out.json").write_text(json.dumps(found))
        keep(tmp_path / "out.json", name, "c", "r", folder=folder)
    write(folder, tmp_path / "performance.md")
    page = (tmp_path / "performance.md").read_text()
    assert page == text(read(folder))
    assert {path.name for path in folder.glob("*.svg")} == {"goals.svg", "scaling-adapters.svg"}
    assert "](performance/goals.svg)" in page
    assert "](performance/scaling-adapters.svg)" in page


def test_the_memory_that_was_measured_has_a_figure(tmp_path: Path) -> None:
    sizes = {"codetune": 3.0, "published": 5.0}
    bars = [{"model": f"{size}B", "method": method, "gb": sizes} for size in (1, 7) for method in ("full", "lora")]
    figure = {"kind": "memory", "file": "memory.svg", "alt": "Peak memory", "bars": bars}
    write_record(tmp_path / "gpu.json", record("gpu", [], [0.1], {}, figures=[figure]))
    write(tmp_path, tmp_path / "performance.md")
    assert {path.name for path in tmp_path.glob("*.svg")} == {"memory.svg"}
    assert "![Peak memory](performance/memory.svg)" in (tmp_path / "performance.md").read_text()


def test_all_runs_what_needs_no_gpu_and_is_there() -> None:
    names = wanted("")
    assert names[0] == "step"
    assert set(names[-3:]) == {"scaling", "quickstart", "startup"}
    assert set(names) <= set(BENCHMARKS)
    assert "gpu" not in names
    assert wanted("packing,step") == ["step", "packing"]
    with pytest.raises(UserError, match="did you mean 'step'"):
        wanted("stepp")


def test_a_user_s_mistake_under_keep_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["step", "--methods", "lorra", "--keep"]) == 2
    assert "error: no method 'lorra': did you mean 'lora'?" in capsys.readouterr().err


def run(cpu_seconds: float, *losses: float) -> Measurement:
    return Measurement(cpu_seconds, cpu_seconds, list(losses), 100, 2_000_000_000, {"torch": "2"})


def test_a_step_s_record_has_a_row_for_each_peer_and_the_share_of_the_rate() -> None:
    cells = [
        Cell("lora", OURS, 1000, 100, [run(1, 9.0, 8.0)], [0.2]), Cell("lora", TRL, 1000, 100, [run(4, 9.001, 8.1)], [0.3]),
        Cell("lora", AUTOCAST, 1000, 100, [run(2, 9.5, 8.0)], [0.4]), Cell("full", TRL, 1000, 100, failure="RuntimeError: no"),
    ]  # fmt: skip
    found = make_record(cells, {"lora": 300, "full": 400}, [{"bf16": 1e6}, {"bf16": 2e6}], "a model")
    trl, autocast, full = found["rows"]
    assert (trl["ratio"], trl["goal"], trl["must"]) == (4.0, "G1", goal("G1").targets[0].must)
    assert (autocast["ratio"], autocast["same"]) == (None, "no: first loss 9.5000, codetune's 9.0000")
    assert full["same"] == "no: RuntimeError: no"
    assert found["systems"][0]["share_of_rate"] == 1000 * 300 / 2e6  # the faster of both rates
    assert "| lora | TRL | 250 | 4% | 2.00 GB | yes: loss within 1e-04 at first, 1e-02 later | 4.00x |" in report(found)


def test_who_trains_as_which_system() -> None:
    assert [worker(system) for system in (OURS, PLAIN, TRL, AUTOCAST)] == ["bench.ours"] * 2 + ["bench.peer_trl", "bench.peer_autocast"]


def test_the_fill_of_packed_rows_and_padded_batches() -> None:
    found = fills(replace(job(), row_tokens=512))  # steps of lengths 2, 5 and 6, 1 after the first; 2 examples a batch
    assert found["packed"] == 14 / (2 * 512)
    assert found["packed_with_virtual"] == 14 / (2 * (512 + 20))
    assert found["padded"] == 14 / (2 * 5 + 2 * 6)
    assert found["padded_with_virtual"] == 14 / (2 * 5 + 2 * 6 + 4 * 20)


def test_exponents_and_what_grows_too_fast() -> None:
    sizes = [1, 10, 100]
    assert exponent(sizes, [2.0, 200.0, 20000.0]) == pytest.approx(2)
    assert exponent([1, 10], [1.0, 2.0]) is None
    points = [{"series": "row", "variant": v, "size": n, "cpu_s_per_token": n**p, "step_bytes": n**2} for v, p in
              (("one long document", 1), ("short documents", 0.0)) for n in sizes]  # fmt: skip
    grown = {(one["what"], one["unit"]): verdict(one) for one in SERIES["row"].growth(points)}
    assert grown["time of a token, one long document", "CPU s per token"] == "as it should be"
    assert grown["time of a token, short documents", "CPU s per token"] == "as it should be"
    assert grown["memory of a pass, short documents", "bytes of a step"] == "grows too fast"


def test_a_record_names_its_machine() -> None:
    assert record("x", [], [0.0], {})["machine"] == environment.machine()
