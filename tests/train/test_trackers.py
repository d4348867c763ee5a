"""Rows reach the trackers, and a tracker's trouble never reaches the training: read back from TensorBoard's and W&B's own files."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from codetune.config import Tracker, TrainRecipe
from codetune.errors import UserError
from codetune.runs import read_json, read_rows
from codetune.train.loop import train
from codetune.train.resume import Progress
from codetune.train.run import METRICS, Reading, Run, Sampler
from codetune.train.trackers import Trackers, open_trackers, require_trackers
from tests.exactness.test_training import STEPS, at_step, interrupt, make_run

NUMBERS = ("loss", "lr", "grad_norm", "tokens", "val_loss", "pass_rate", "eos_share")
ANSWER = {"task_id": "a/1", "verdict": "passed", "completion": "def f(x):\n    return x < 1  # <b>*not markdown*</b>\n"}


def recipe(*trackers: str) -> TrainRecipe:
    tree = {"name": "mine", "model": "m", "data": {"source": "basics"}, "trackers": trackers, "method": {"name": "lora", "lora_rank": 3}}
    return TrainRecipe.model_validate(tree)


def tracked(folder: Path, trackers: tuple[str, ...], report: Callable[[Progress, int], None] | None = None) -> Run:
    """A run of eight steps with samples, told to trackers; as `finetune` does it."""
    run = make_run(folder, validations=2, checkpoint_every_s=1e-9)
    run.sampler = Sampler(2, lambda adapted: Reading(0.25, 1.0, 1.0, 3.0, [ANSWER]))
    run.report = report or run.report
    with open_trackers(recipe(*trackers), folder, max((row["step"] for row in read_rows(folder / METRICS)), default=0)) as opened:
        run.trackers = opened
        train(run)
    return run


def stopped_and_gone_on_with(folder: Path, *trackers: str) -> list[dict[str, Any]]:
    """Stopped in step 5, whose row was sent already, then taken up again. The rows that the trackers should have."""
    with pytest.raises(KeyboardInterrupt):
        tracked(folder, trackers, at_step(5, interrupt))
    tracked(folder, trackers)
    return read_rows(folder / METRICS)


def series(rows: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(row["step"], pytest.approx(row[key], rel=1e-6)) for row in rows if key in row]


def test_the_names_are_those_that_accelerate_has() -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    assert set(get_args(Tracker)) == set(LOGGER_TYPE_TO_CLASS)


def test_tensorboard_has_every_row_of_a_resumed_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    rows = stopped_and_gone_on_with(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard" / "mine"), {"scalars": 0, "tensors": 0})
    events.Reload()
    for key in NUMBERS:
        assert [(event.step, event.value) for event in events.Scalars(key)] == series(rows, key), key
    assert "step" not in events.Tags()["scalars"]
    assert not {"val_loss", "pass_rate"} - set(events.Tags()["scalars"])
    (settings,) = events.Tensors("recipe/text_summary")
    kept = yaml.safe_load(tensor_util.make_ndarray(settings.tensor_proto).item().decode())
    assert kept == recipe("tensorboard").model_dump(mode="json")
    answers = events.Tensors("samples/text_summary")
    assert [event.step for event in answers] == [4, STEPS]
    text = tensor_util.make_ndarray(answers[0].tensor_proto).item().decode()
    assert "**a/1**: passed" in text
    assert "    def f(x):\n        return x < 1  # <b>*not markdown*</b>" in text


def test_wandb_has_every_row_of_a_resumed_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, from the files that `wandb sync` would send: both halves are parts of one run there."""
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("needs wandb: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    rows = stopped_and_gone_on_with(tmp_path, "wandb")
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    history, config, tables = _wandb_records(files)
    assert {path.stem for path in files} == {"run-" + read_json(tmp_path / "trackers.json")["id"]}
    for key in NUMBERS:
        assert [(step, values[key]) for step, values in history if key in values] == series(rows, key), key
    assert Counter(step for step, _ in history) == dict.fromkeys(range(1, STEPS + 1), 1)
    assert config["method.lora_rank"] == 3
    assert [step for step, values in history if any(key.startswith("samples") for key in values)] == [4, STEPS]
    assert tables == [[ANSWER["task_id"], ANSWER["verdict"], ANSWER["completion"]]] * 2


def _wandb_records(files: list[Path]) -> tuple[list[tuple[int, dict[str, Any]]], dict[str, Any], list[Any]]:
    """(step, values) of every row, the settings, and the tables' rows, from W&B's own log."""
    from wandb.proto import wandb_internal_pb2

    history, config, tables = [], {}, []
    for path in files:
        for data in _leveldb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                values = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}
                history.append((values["_step"], values))
            for update in (*record.run.config.update, *record.config.update):
                config[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
        for table in sorted(path.parent.glob("files/media/table/*.json")):
            tables += json.loads(table.read_text())["data"]
    return history, config, tables


def _leveldb_records(log: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format, which W&B's files have after 7 bytes of their own: blocks of 32 KiB, records in parts."""
    assert log[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(log):
        if 32_768 - at % 32_768 < 7:  # too little of the block is left for a header
            at += 32_768 - at % 32_768
            continue
        length, kind = int.from_bytes(log[at + 4 : at + 6], "little"), log[at + 6]
        parts += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


class Broken:
    """A tracker whose network is gone after the second row."""

    name = "broken"

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, values: dict[str, float], step: int) -> None:
        if len(self.steps) == 2:
            raise ConnectionError("no route\nto host")
        self.steps.append(step)

    def finish(self) -> None:
        pytest.fail("it was left out")


def test_a_tracker_that_fails_is_left_out_with_one_line(tmp_path: Path) -> None:
    said: list[str] = []
    tracker = Broken()
    run = make_run(tmp_path)
    run.trackers = Trackers([tracker], warn=said.append)
    assert train(run).step == STEPS
    run.trackers.finish()
    assert tracker.steps == [1, 2]
    assert said == ["the tracker broken failed and gets no more of this run (no route to host); metrics.jsonl has it all"]


def test_a_tracker_that_cannot_begin_does_not_stop_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    said: list[str] = []
    with open_trackers(recipe("tensorboard"), tmp_path, 0, said.append) as trackers:
        trackers.log({"step": 1, "loss": 2.0})
    assert len(said) == 1
    assert said[0].startswith("the tracker tensorboard failed")
    assert "\n" not in said[0]


def test_what_a_tracker_prints_is_not_the_runs_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Talks(Broken):
        def log(self, values: dict[str, float], step: int) -> None:
            print("look at my page")

        def finish(self) -> None:
            print("bye")

    trackers = Trackers([Talks()])
    trackers.log({"step": 1, "loss": 2.0})
    trackers.finish()
    out, error = capsys.readouterr()
    assert (out, error) == ("", "look at my page\nbye\n")


def test_a_missing_package_is_one_line() -> None:
    absent = [name for name in ("comet_ml", "clearml") if importlib.util.find_spec(name) is None]
    if len(absent) < 2:
        pytest.skip("comet_ml or clearml is installed")
    with pytest.raises(UserError, match=r"trackers: comet_ml, clearml not installed: run `pip install comet-ml clearml`, or take it out"):
        require_trackers(["comet_ml", "clearml"])
