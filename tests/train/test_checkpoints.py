"""Checkpoints under damage, full disks and kills: found, named, and the one before is used; at worst the run starts anew."""

from __future__ import annotations

import contextlib
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from codetune.errors import UserError
from codetune.train.checkpoints import ABOUT, DamagedError, read_state, verify, write_folder
from codetune.train.loop import train
from codetune.train.resume import CHECKPOINT, STATE, Progress
from codetune.train.run import Run
from tests.exactness.test_training import STEPS, assert_equal_runs, at_step, interrupt, make_run

AT_THE_END = ["best-00000006", "best-00000008", "step-00000007", "step-00000008"]  # every validation is the best so far
LARGE = torch.arange(60_000, dtype=torch.float32)


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """A limit on the size of files stands for the full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", {"x.pt": {"large": LARGE, "n": 3}, "y.pt": [LARGE[:2]]}, {"step": 7})
    assert verify(tmp_path / "a")["step"] == 7
    assert torch.equal(read_state(tmp_path / "a" / "x.pt")["large"], LARGE)
    assert torch.equal(read_state(tmp_path / "a" / "y.pt")[0], LARGE[:2])
    assert names(tmp_path) == ["a"]


def test_any_flipped_byte_and_any_cut_is_seen(tmp_path: Path) -> None:
    """300 places of a small folder, ends and beginnings of files among them."""
    folder, rng = tmp_path / "a", random.Random(0)
    write_folder(folder, {"x.pt": {"x": LARGE[:40]}}, {"step": 7})
    for name in ("x.pt", ABOUT):
        whole = (folder / name).read_bytes()
        for at in [0, 1, len(whole) - 2, *(rng.randrange(len(whole) - 1) for _ in range(70))]:
            flipped = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
            for damaged in (flipped, whole[:at]):
                (folder / name).write_bytes(damaged)
                if name == ABOUT and damaged == flipped and whole[at : at + 1].isspace():
                    continue  # between the words of a JSON file nothing is said
                with pytest.raises(DamagedError):
                    verify(folder)
        (folder / name).write_bytes(whole)
        verify(folder)
    (folder / "x.pt").unlink()
    with pytest.raises(DamagedError, match=r"x\.pt: No such file"):
        verify(folder)


@pytest.mark.parametrize("limit", [0, 10, 700, 200_000])
def test_a_full_disk_leaves_nothing_and_takes_nothing(limit: int, tmp_path: Path) -> None:
    """It fills up at the first byte, in the head of the file, and in the middle of a tensor (where torch raises an error of its own)."""
    write_folder(tmp_path / "a", {"x.pt": LARGE[:10]}, {"step": 1})
    with no_file_above(limit), pytest.raises(OSError, match="File too large"):
        write_folder(tmp_path / "a", {"x.pt": {"large": LARGE}}, {"step": 2})
    assert names(tmp_path) == ["a"]
    assert verify(tmp_path / "a")["step"] == 1


def stopped_run(folder: Path, at: int = 6) -> None:
    stopped = make_run(folder, validations=4, checkpoint_every_s=1e-9)
    stopped.report = at_step(at, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Progress]:
    run = make_run(tmp_path_factory.mktemp("whole"), validations=4)
    return run, train(run)


def resumed(folder: Path, whole: tuple[Run, Progress]) -> tuple[list[int], list[str]]:
    """Go on to the end, which must be that of the undisturbed run; gives the steps that were made and what was said."""
    run = make_run(folder, validations=4, checkpoint_every_s=1e-9)
    steps: list[int] = []
    said: list[str] = []
    run.report, run.warn = lambda progress, _: steps.append(progress.step), said.append
    assert_equal_runs(run, whole[0], train(run), whole[1])
    return steps, said


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", [STATE, ABOUT])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    name: str, damage: Callable[[Path], None], whole: tuple[Run, Progress], tmp_path: Path
) -> None:
    stopped_run(tmp_path)
    home = tmp_path / CHECKPOINT
    assert names(home) == ["best-00000004", "best-00000006", "step-00000004", "step-00000005"]  # best weights newer than both do no harm
    damage(home / "step-00000005" / name)
    steps, [said] = resumed(tmp_path, whole)
    assert steps == [5, 6, 7, 8]
    assert said.startswith(f"{home / 'step-00000005'} is damaged ({name}")
    assert said.endswith("): the one before is used")
    assert names(home) == AT_THE_END


def test_best_weights_are_checked_with_the_checkpoints_that_name_them(whole: tuple[Run, Progress], tmp_path: Path) -> None:
    stopped_run(tmp_path)
    flip(tmp_path / CHECKPOINT / "best-00000004" / STATE)
    steps, said = resumed(tmp_path, whole)
    assert steps == list(range(1, STEPS + 1))
    assert len(said) == 2
    assert "step-00000005 is damaged (its best weights, best-00000004: state.pt is not as it was written" in said[0]
    assert said[1].endswith("there is none before it, training starts anew")


def test_what_a_kill_leaves_of_files_half_written_is_cleared_away(whole: tuple[Run, Progress], tmp_path: Path) -> None:
    home = tmp_path / CHECKPOINT
    (home / ".step-00000003.1.tmp").mkdir(parents=True)
    (home / ".step-00000003.1.tmp" / STATE).write_bytes(b"half")
    (home / ".step-00000002.1.old").mkdir()
    assert resumed(tmp_path, whole) == (list(range(1, STEPS + 1)), [])
    assert names(home) == AT_THE_END


def test_a_run_of_an_older_codetune_starts_anew_and_says_so(whole: tuple[Run, Progress], tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).mkdir()
    (tmp_path / CHECKPOINT / "state.pt").write_bytes(b"PK")
    steps, [said] = resumed(tmp_path, whole)
    assert steps[0] == 1
    assert "is of an older codetune and cannot be gone on from: training starts anew" in said


def test_a_checkpoint_of_another_method_is_not_put_into_the_model(whole: tuple[Run, Progress], tmp_path: Path) -> None:
    train(make_run(tmp_path, method="full"))
    steps, [said] = resumed(tmp_path, whole)
    assert steps[0] == 1
    assert "it has the weights of another model or method" in said


@pytest.mark.parametrize("count", [1, 3])
def test_so_many_checkpoints_are_kept_as_asked(count: int, tmp_path: Path) -> None:
    train(make_run(tmp_path, checkpoints_kept=count, checkpoint_every_s=1e-9))
    assert names(tmp_path / CHECKPOINT) == [f"step-{step:08d}" for step in range(STEPS + 1 - count, STEPS + 1)]


def test_a_disk_that_is_full_for_a_while_costs_nothing(whole: tuple[Run, Progress], tmp_path: Path) -> None:
    """From the third step to the sixth nothing can be written, not even a metric: the best weights of step 4 wait in memory."""
    run = make_run(tmp_path, validations=4, checkpoint_every_s=1e-9)
    said: list[str] = []
    disk = contextlib.ExitStack()
    kept: list[list[str]] = []

    def report(progress: Progress, steps: int) -> None:
        if progress.step == 3:
            disk.enter_context(no_file_above(0))
        if progress.step == 6:
            kept.append(names(tmp_path / CHECKPOINT))
            disk.close()

    run.report, run.warn = report, said.append
    with disk:
        progress = train(run)
    assert_equal_runs(run, whole[0], progress, whole[1])
    assert kept == [["best-00000002", "step-00000001", "step-00000002"]]
    home = tmp_path / CHECKPOINT
    assert said == [
        f"no checkpoint of step 3 in {home}: File too large; that of step 2 is kept, training goes on and tries again",
        "the checkpoint of step 6 is written, the disk takes files again",
    ]
    assert names(home) == AT_THE_END


def test_a_disk_that_is_full_at_the_end_is_one_line_and_the_checkpoint_before_is_kept(whole: tuple[Run, Progress], tmp_path: Path) -> None:
    run = make_run(tmp_path, validations=4, checkpoint_every_s=1e-9)
    with contextlib.ExitStack() as disk:
        run.report = at_step(7, lambda: disk.enter_context(no_file_above(0)))
        with pytest.raises(UserError, match=r"cannot write .*checkpoint: File too large"):
            train(run)
    assert names(tmp_path / CHECKPOINT) == ["best-00000004", "best-00000006", "step-00000005", "step-00000006"]
    assert resumed(tmp_path, whole) == ([7, 8], [])
