"""Training ended at random moments in five ways, again and again: what comes out is the undisturbed run, bit for bit.

    python -m pytest tests/exactness/test_torture.py -s -m slow        says how many moments of each kind there were

Processes are forked from one that has torch loaded, and are killed as any other. A moment counts when it came before the run's end.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from codetune.train.resume import CHECKPOINT
from tests.exactness.test_training import metrics
from tests.exactness.tortured import FINAL, METHODS, final, same, tortured
from tests.forked import SERVER

KINDS = ("kill -9", "SIGTERM", "full disk", "cut short", "flipped byte")


class Torture:
    """Runs of one method in a folder, disturbed until so many disturbances of each kind have come before an end."""

    def __init__(self, home: Path, method: str, seed: int, steps: int = 24) -> None:
        self.home, self.method, self.steps = home, method, steps
        self.rng = random.Random(f"{method}/{seed}")
        self.counts: collections.Counter[str] = collections.Counter()
        self.runs = 0
        self.inside = 0  # kills that came while a checkpoint was written or removed
        self.wanted = self.home / "undisturbed"
        for folder in (self.wanted, self.home / "timed"):  # the first one also waits for torch
            started = time.monotonic()
            assert self.ended(self.start(folder)) == 0
            self.seconds = time.monotonic() - started
        assert same(final(self.home / "timed"), final(self.wanted))

    def start(self, folder: Path) -> BaseProcess:
        self.said, say = SERVER.Pipe(duplex=False)
        process = SERVER.Process(target=_begin, args=(folder, self.method, self.steps, say))
        process.start()
        say.close()
        return process

    def messages(self) -> list[str]:
        """What the last process said before it ended."""
        found = []
        with contextlib.suppress(EOFError):
            while True:
                found.append(self.said.recv())
        return found

    def ended(self, process: BaseProcess) -> int:
        process.join(300)
        assert process.exitcode is not None
        return process.exitcode

    def inflict(self, kinds: list[str]) -> None:
        """All of these, in order, over as many runs as it takes; each run that ends is compared."""
        waiting = list(kinds)
        while waiting:
            folder = self.home / f"run-{self.runs}"
            self.runs += 1
            while not (folder / FINAL).exists():
                if not waiting:
                    assert self.ended(self.start(folder)) == 0
                elif self.disturbed(folder, waiting[0]):
                    self.counts[waiting.pop(0)] += 1
            assert same(final(folder), final(self.wanted)), folder
            assert metrics(folder) == metrics(self.wanted), folder
            shutil.rmtree(folder)

    def disturbed(self, folder: Path, kind: str) -> bool:
        """One process, disturbed at a random moment; whether that was before its end."""
        process = self.start(folder)
        process.join(self.rng.uniform(0.05, 0.95) * self.seconds)
        if process.exitcode is not None:
            assert process.exitcode == 0
            return False
        assert process.pid is not None
        if kind == "full disk":
            return self.starve(process)
        number = signal.SIGTERM if kind == "SIGTERM" else signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        code = self.ended(process)
        if code == 0:
            return False
        assert code in (-number, 128 + number)  # by its own handler, or before it had one
        self.inside += any((folder / CHECKPOINT).glob(".*"))
        return self.damage(folder, kind) if kind in KINDS[3:] else True

    def starve(self, process: BaseProcess) -> bool:
        """No file may grow for a while, which for half of the time is longer than the run can wait; whether anything was refused."""
        limits = (self.rng.choice((0, 1000, 30_000)), resource.RLIM_INFINITY)
        with contextlib.suppress(ProcessLookupError):
            before = resource.prlimit(process.pid or 0, resource.RLIMIT_FSIZE, limits)
            process.join(self.rng.choice((0.1, 10)) * self.seconds)
            resource.prlimit(process.pid or 0, resource.RLIMIT_FSIZE, before)
        code, said = self.ended(process), self.messages()
        assert code in (0, 2)
        return any("File too large" in message for message in said)

    def damage(self, folder: Path, kind: str) -> bool:
        """Cut a file of the newest checkpoint, or of the best weights, or flip one bit of it; False where there is none yet."""
        folders = sorted((folder / CHECKPOINT).glob("step-*"))[-1:] + sorted((folder / CHECKPOINT).glob("best-*"))[-1:]
        files = [path for each in folders for path in sorted(each.iterdir())]
        if not files:
            return False
        path = self.rng.choice(files)
        data = bytearray(path.read_bytes())
        at = self.rng.randrange(len(data))
        if kind == "cut short":
            del data[at:]
        else:
            data[at] ^= 1 << self.rng.randrange(8)
        path.write_bytes(data)
        return True


def _begin(folder: Path, method: str, steps: int, say: Connection) -> None:
    sys.exit(tortured(folder, method, steps, say.send))


def test_ended_in_every_way_and_started_again_it_is_the_undisturbed_run(tmp_path: Path) -> None:
    torture = Torture(tmp_path, "lora", seed=0, steps=12)
    torture.inflict(list(KINDS))
    assert torture.counts.total() == len(KINDS)


@pytest.mark.slow
def test_fifty_random_moments(tmp_path: Path) -> None:
    """Fifty of them over full, LoRA with dropout and prefix-tuning, the kinds in random order."""
    kinds = list(KINDS) * 10
    random.Random(0).shuffle(kinds)
    for number, method in enumerate(METHODS):
        torture = Torture(tmp_path / method, method, seed=0)
        torture.inflict(kinds[number :: len(METHODS)])
        print(f"{method}: {dict(torture.counts)} in {torture.runs} runs; {torture.inside} kills within a write")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_for_a_while(small_disk: Path, tmp_path: Path) -> None:
    """Another program takes all of a small disk, lets it go and takes it again, until the run is through."""
    torture = Torture(tmp_path, "full", seed=1, steps=12)
    folder, filler, rng = small_disk / "run", small_disk / "filler", random.Random(1)
    full = 0
    while not (folder / FINAL).exists():
        process = torture.start(folder)
        while process.exitcode is None:
            process.join(rng.uniform(0.05, 0.2) * torture.seconds)
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            full += process.exitcode is None
            process.join(rng.uniform(0.05, 0.3) * torture.seconds)
            filler.unlink()
        assert process.exitcode in (0, 2)
    assert full
    assert same(final(folder), final(torture.wanted))
    assert metrics(folder) == metrics(torture.wanted)
