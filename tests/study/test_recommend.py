"""Where to start: the rule of `codetune.study.recommend` on evidence made by hand, and studies as evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from codetune.config import TrainRecipe
from codetune.errors import UserError
from codetune.study.cells import read_study
from codetune.study.findings import Asked, advice_of, own_findings
from codetune.study.grounds import Evidence, Finding, Fit, Knob, PublishedScore, Recommendation, Rival
from codetune.study.knobs import default_method, starting_rate, starting_train
from codetune.study.recommend import DEFAULT, NOTHING, OWN, OWN_TIED, PUBLISHED, recommend
from codetune.study.report import write_report
from codetune.study.written import commented, recipe_of, write_recipe
from tests.study.study_fixture import build_study

GB = 10**9
FITS = (
    Fit("full", True, 20 * GB, 600.0), Fit("lora", True, 10 * GB, 500.0), Fit("qlora", True, 6 * GB, 900.0),
    Fit("prefix_tuning", True, 8 * GB, 450.0), Fit("bitfit", False, problem="this model has no biases"),
)  # fmt: skip
TRAIN = (Knob("train.epochs", 3.0, "usual"), Knob("train.max_seq_len", 512, "of the data"), Knob("train.precision", "auto", "as it is"))


def evidence(**more: object) -> Evidence:
    return dataclasses.replace(Evidence("m", "d", "a GPU of 24 GB", 24 * GB, FITS, parameters=7 * GB, train=TRAIN), **more)  # type: ignore[arg-type]


def finding(scores: Mapping[str, float], apart: set[tuple[str, str]], closeness: int = 0, study: str = "runs/s", seeds: int = 3) -> Finding:
    """Every row is told apart from the base model, unless it is left out of `scores`."""
    settings = {"lora": {"lora_rank": 4}}
    rivals = tuple(Rival(name, name, score, seeds, 1e-3, settings=settings.get(name, {})) for name, score in scores.items())
    above_base = {(name, "base") for name in scores}
    return Finding(study, "m", "d", "humaneval", "pass@1", rivals, frozenset(apart | above_base), closeness)


def knob(found: Recommendation, key: str) -> Knob:
    return next(each for each in found.knobs if each.key == key)


def test_without_evidence_it_is_lora_and_says_that_nothing_is_known() -> None:
    found = recommend(evidence())
    assert (found.method, found.by) == ("lora", DEFAULT)
    assert found.unknown[0].startswith("no finished study of m")
    assert [each.method for each in found.alternatives] == ["qlora", "prefix_tuning", "full"]  # least memory first
    assert [(each.what, each.why) for each in found.ruled_out] == [("bitfit", "cannot be: this model has no biases")]
    assert knob(found, "method.learning_rate").value == 2e-4  # a model of billions


@pytest.mark.parametrize(("fitting", "wanted"), [({"qlora", "full"}, "qlora"), ({"full", "prefix_tuning"}, "prefix_tuning")])
def test_the_default_is_qlora_where_lora_does_not_fit_and_then_the_least(fitting: set[str], wanted: str) -> None:
    fits = tuple(dataclasses.replace(fit, fits=fit.method in fitting) for fit in FITS)
    found = recommend(evidence(fits=fits))
    assert (found.method, found.by) == (wanted, DEFAULT)
    assert any(each.what == "lora" and "10 GB forecast, a GPU of 24 GB has 24 GB" in each.why for each in found.ruled_out)


def test_nothing_fits() -> None:
    found = recommend(evidence(fits=tuple(dataclasses.replace(fit, fits=False) for fit in FITS), memory_bytes=GB))
    assert (found.method, found.by, found.knobs) == ("", NOTHING, ())
    assert "qlora needs the least, 6.0 GB, and a GPU of 24 GB has 1.0 GB" in found.reasons[0].text
    assert len(found.ruled_out) == len(FITS)
    with pytest.raises(UserError, match="nothing fits"):
        recipe_of(found)


def test_the_winner_that_ones_own_study_tells_apart_is_taken_though_it_needs_the_most() -> None:
    study = finding({"full": 0.5, "lora": 0.4, "prefix_tuning": 0.1}, {("full", "lora"), ("full", "prefix_tuning")})
    found = recommend(evidence(findings=(study,)))
    assert (found.method, found.by) == ("full", OWN)
    assert found.reasons[0].source == "runs/s"
    assert "full 50.0, lora 40.0, prefix_tuning 10.0; full is told apart from all 2 others (3 seeds)" in found.reasons[0].text
    assert not any("no finished study" in line for line in found.unknown)


def test_a_winner_that_does_not_fit_gives_way_to_the_next() -> None:
    apart = {("full", "lora"), ("full", "prefix_tuning"), ("lora", "prefix_tuning")}
    study = finding({"full": 0.5, "lora": 0.4, "prefix_tuning": 0.1}, apart)
    fits = tuple(dataclasses.replace(fit, fits=fit.method != "full") for fit in FITS)
    found = recommend(evidence(findings=(study,), fits=fits))
    assert (found.method, found.by) == ("lora", OWN)
    assert "full" not in found.reasons[0].text
    assert (knob(found, "method.learning_rate").value, knob(found, "method.lora_rank").value) == (1e-3, 4)  # as the study had them


def test_of_what_cannot_be_told_apart_the_least_memory_is_taken() -> None:
    study = finding({"full": 0.5, "lora": 0.49, "prefix_tuning": 0.1}, {("full", "prefix_tuning"), ("lora", "prefix_tuning")})
    found = recommend(evidence(findings=(study,)))
    assert (found.method, found.by) == ("lora", OWN_TIED)
    assert "full is not told apart from lora" in found.reasons[0].text
    assert "of full and lora lora needs the least memory (10 GB)" in found.reasons[1].text
    equal = tuple(dataclasses.replace(fit, peak_bytes=10 * GB) for fit in FITS)
    assert recommend(evidence(findings=(study,), fits=equal)).method == "lora"  # then the least time: 500 s against 600


def test_studies_that_conflict_are_as_methods_that_cannot_be_told_apart() -> None:
    first = finding({"full": 0.5, "lora": 0.4}, {("full", "lora")}, study="runs/a")
    second = finding({"full": 0.3, "lora": 0.4}, {("lora", "full")}, study="runs/b")
    found = recommend(evidence(findings=(first, second)))
    assert (found.method, found.by) == ("lora", OWN_TIED)
    assert {"runs/a", "runs/b"} <= {reason.source for reason in found.reasons}
    assert any("these studies disagree" in reason.text for reason in found.reasons)


def test_what_equally_close_studies_agree_on_is_taken() -> None:
    first = finding({"full": 0.5, "lora": 0.49}, set(), study="runs/a")
    second = finding({"full": 0.5, "lora": 0.3}, {("full", "lora")}, study="runs/b")
    assert recommend(evidence(findings=(first, second))).method == "full"


def test_a_closer_study_is_asked_before_one_farther_off() -> None:
    near = finding({"full": 0.5, "lora": 0.4}, {("full", "lora")}, closeness=2, study="runs/near")
    far = finding({"full": 0.1, "lora": 0.9}, {("lora", "full")}, closeness=4, study="runs/far")
    found = recommend(evidence(findings=(far, near)))
    assert found.method == "full"
    assert any("no study of this model on this data: the nearest is of the same model on other data" in line for line in found.unknown)


def test_a_study_that_beats_no_base_decides_nothing() -> None:
    study = dataclasses.replace(finding({"full": 0.02, "prefix_tuning": 0.01}, set()), apart=frozenset())
    found = recommend(evidence(findings=(study,)))
    assert (found.method, found.by) == ("lora", DEFAULT)
    assert any("decides nothing" in line for line in found.unknown)


def test_rows_that_are_struck_out_do_not_count() -> None:
    study = finding({"full": 0.9, "lora": 0.4}, {("full", "lora")})
    struck = dataclasses.replace(study, rivals=tuple(
        dataclasses.replace(rival, invalid="trained tensors did not move") if rival.method == "full" else rival for rival in study.rivals
    ))  # fmt: skip
    found = recommend(evidence(findings=(struck,)))
    assert found.method == "lora"
    assert ("full in runs/s", "its numbers are struck out: trained tensors did not move") in {(o.what, o.why) for o in found.ruled_out}


def test_one_seed_is_said() -> None:
    found = recommend(evidence(findings=(finding({"full": 0.5, "lora": 0.4}, {("full", "lora")}, seeds=1),)))
    assert any("1 seed: how much another seed would change" in line for line in found.unknown)


PAPER = tuple(
    PublishedScore("m", method, "conala", "BLEU", value, "a paper, table 2", same_model)
    for same_model, method, value in ((True, "lora", 20.0), (True, "prefix_tuning", 25.0), (False, "full", 90.0), (False, "lora", 10.0))
)


def test_a_published_order_comes_with_its_caveat_and_the_models_own_table_first() -> None:
    found = recommend(evidence(published=PAPER))
    assert (found.method, found.by) == ("prefix_tuning", PUBLISHED)
    assert found.reasons[0].source == "a paper, table 2"
    assert any("no seeds and no intervals" in line for line in found.unknown)
    other = recommend(evidence(published=PAPER[2:]))
    assert other.method == "full"
    assert any("m is not in that table" in line for line in other.unknown)


def test_published_figures_that_fail_a_gate_are_not_used() -> None:
    bad = tuple(dataclasses.replace(one, invalid="CodeBLEU .25 at BLEU 0") if one.method == "prefix_tuning" else one for one in PAPER)
    found = recommend(evidence(published=bad))
    assert found.method != "prefix_tuning"
    assert any("not used: CodeBLEU .25 at BLEU 0" in each.why and "prefix_tuning BLEU 25 of m" in each.what for each in found.ruled_out)


def test_ones_own_study_is_asked_before_what_is_published() -> None:
    assert recommend(evidence(findings=(finding({"full": 0.5, "lora": 0.4}, {("full", "lora")}),), published=PAPER)).method == "full"


def test_hours_rule_out_what_is_slower_and_cut_the_budget_where_all_are() -> None:
    found = recommend(evidence(hours=0.13))  # 468 s
    assert found.method == "prefix_tuning"
    assert ("full", "takes 10 min 0 s, and 0.13 h are allowed") in {(each.what, each.why) for each in found.ruled_out}
    cut = recommend(evidence(hours=0.0625))  # 225 s, of lora's 500
    assert cut.method == "lora"
    assert knob(cut, "train.epochs").value == pytest.approx(3 * 225 / 500, rel=0.05)
    assert any("the budget is cut" in reason.text for reason in cut.reasons)


def test_time_that_is_not_known_is_said() -> None:
    fits = tuple(dataclasses.replace(fit, seconds=None) for fit in FITS)
    assert any("time is not known" in line for line in recommend(evidence(fits=fits, hours=1.0)).unknown)


def test_the_same_evidence_in_another_order_gives_the_same_answer() -> None:
    study = finding({"full": 0.5, "lora": 0.49, "prefix_tuning": 0.48}, set())
    mirrored = dataclasses.replace(study, rivals=study.rivals[::-1])
    one, other = recommend(evidence(findings=(study,))), recommend(evidence(findings=(mirrored,), fits=FITS[::-1]))
    assert (one.method, one.by, one.knobs, one.alternatives) == (other.method, other.by, other.knobs, other.alternatives)


@pytest.mark.parametrize(
    ("method", "parameters", "rate"),
    [("lora", 7e6, 2e-3), ("lora", 3.5e8, 2e-4), ("dora", 7e9, 2e-4), ("lora", 3.4e10, 1e-4), ("full", 7e6, 5e-4), ("full", 7e9, 2e-5),
     ("prompt_tuning", 7e9, 1e-2), ("lora", None, 2e-3)],
)  # fmt: skip
def test_rates_to_start_from(method: str, parameters: float | None, rate: float) -> None:
    found, source = starting_rate(default_method(method), None if parameters is None else int(parameters))
    assert found == pytest.approx(rate)
    assert source


def test_budget_and_rows_follow_the_data() -> None:
    values = {each.key: each.value for each in starting_train((), [900] * 4800)}
    assert values["train.max_seq_len"] == 512  # 300 tokens
    assert values["train.batch_tokens"] == 8192  # 4.32M tokens in all, and 300 steps or more
    assert values["train.epochs"] == 3.0
    small = {each.key: each.value for each in starting_train((), [300] * 100)}
    assert (small["train.max_seq_len"], small["train.batch_tokens"]) == (256, 512)


def test_the_settings_of_a_study_of_the_same_model_and_data_are_taken_over() -> None:
    study = finding({"full": 0.5, "lora": 0.4}, set())
    trained = {"train_tokens": 400_000, "batch_tokens": 512, "max_seq_len": 256, "precision": "bf16", "micro_batch_size": 2}
    study = dataclasses.replace(study, rivals=tuple(dataclasses.replace(rival, train=trained) for rival in study.rivals))
    values = {each.key: (each.value, each.why) for each in starting_train([study], [100])}
    assert values["train.train_tokens"] == (400_000, "as in runs/s")
    assert values["train.precision"][0] == "auto"
    assert "train.micro_batch_size" not in values
    assert starting_train([dataclasses.replace(study, closeness=1)], [100])[0].key == "train.epochs"


def test_the_written_recipe_is_the_recommended_one(tmp_path: Path) -> None:
    fits = (Fit("lora", True, 10 * GB, None, settings={"micro_batch_size": 1, "activation_checkpointing": True}),)
    found = recommend(evidence(fits=fits, model="org/some-model", data="my data.jsonl"))
    text = commented(found, "codetune init --model org/some-model")
    wanted = recipe_of(found)
    path = tmp_path / "recipe.yaml"
    write_recipe(path, text, wanted)
    loaded = TrainRecipe.model_validate(yaml.safe_load(path.read_text()))
    assert loaded == wanted
    assert (loaded.method.name, loaded.train.micro_batch_size, loaded.train.activation_checkpointing) == ("lora", 1, True)
    assert (loaded.train.epochs, loaded.data.source) == (3.0, "my data.jsonl")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 140
    for at, line in enumerate(lines):
        if line.startswith("  ") and not line.lstrip().startswith("#"):
            assert lines[at - 1].lstrip().startswith("#"), line  # every value is explained
    with pytest.raises(UserError, match="is there already"):
        write_recipe(path, text, wanted)
    write_recipe(path, text, wanted, force=True)


def test_a_written_recipe_that_says_something_else_is_not_kept(tmp_path: Path) -> None:
    found = recommend(evidence())
    with pytest.raises(RuntimeError, match="does not say"):
        write_recipe(tmp_path / "x.yaml", commented(found, "x").replace("lora_rank: 16", "lora_rank: 8"), recipe_of(found))
    assert not (tmp_path / "x.yaml").exists()


def test_studies_on_disk_are_evidence(tmp_path: Path) -> None:
    build_study(tmp_path / "runs/a", seeds=3, problems=24)
    found, notes = own_findings([tmp_path / "runs"], Asked("codetune-base", "basics"))
    assert notes == []
    assert [(one.closeness, one.benchmark, one.base) for one in found] == [(0, "basics-known", "base")]
    assert [rival.method for rival in found[0].rivals] == ["full", "lora", "prefix_tuning", "prompt_tuning"]
    assert {("full", "prefix_tuning"), ("full", "base"), ("lora", "prompt_tuning")} <= found[0].apart
    assert ("prefix_tuning", "full") not in found[0].apart
    other, notes = own_findings([tmp_path / "runs"], Asked("gpt2", "basics"))
    assert other == []
    assert "says nothing here" in notes[0]
    like = Asked("another", "conala", "llama", 8_000_000)
    assert [one.closeness for one in own_findings([tmp_path / "runs"], like, lambda name: "llama")[0]] == [4]
    assert own_findings([tmp_path / "runs"], dataclasses.replace(like, parameters=80_000_000), lambda name: "llama")[0] == []


def test_a_study_advises_by_itself(tmp_path: Path) -> None:
    study = read_study(build_study(tmp_path / "a", seeds=3, problems=24))
    found = advice_of(study)
    assert found is not None
    assert found.method in {"full", "lora"}
    assert knob(found, "method.learning_rate").value in {5e-4, 2e-3}
    assert any(reason.source == "measured in the study" for reason in found.reasons)
    assert str(tmp_path) not in str(found)  # the same records give the same report
    assert advice_of(dataclasses.replace(study, cells=tuple(cell for cell in study.cells if cell.train is None))) is None


def test_the_report_has_the_recipe_to_start_from(tmp_path: Path) -> None:
    written = write_report(build_study(tmp_path / "a", seeds=1, problems=24))
    for page in (written.html, written.markdown):
        text = page.read_text(encoding="utf-8")
        assert "The recipe to start from" in text
        assert "method.learning" in text
