"""Tokenising shard by shard: neither processes nor kills nor damage change a byte of what comes out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codetune.batches import make_rows
from codetune.data.pack import save_rows
from codetune.data.tokenise import Encoded, join, tokenise
from codetune.errors import UserError
from codetune.train.plan import plan_steps
from tests.data.token_shards import SHARDS, assert_same, fails_at_the_end, killed, letters_of, odd, refused, truncated

Make = Callable[[str], Iterator[Encoded]]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_are_joined_in_their_order(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = tokenise(SHARDS, letters_of, tmp_path / "a", "key", 6, progress=lambda done, of: seen.append((done, of)))
    words = [word for shard in SHARDS for word in shard.split() if len(word) <= 6]
    assert ["".join(map(chr, made.example(index))) for index in range(len(made))] == words
    assert made.dropped_long == 1  # another
    assert made.supervised_tokens == sum(len(word) - 1 for word in words)
    assert seen == [(done, 5) for done in range(6)]
    assert not made.ids.flags.writeable
    assert_same(tokenise(SHARDS, refused, tmp_path / "a", "key", 6), made)
    with pytest.raises(AssertionError, match="not kept"):
        tokenise(SHARDS, refused, tmp_path / "a", "another key", 6)


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    """Not a byte of the tokens, and so neither rows nor steps."""
    one = tokenise(SHARDS, letters_of, tmp_path / "one", "key", 40)
    two = tokenise(SHARDS, letters_of, tmp_path / "two", "key", 40, processes=2)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    plans = []
    for name, made in (("one", one), ("two", two)):
        rows = make_rows(made, "exact", 40, range(len(made)))
        save_rows(tmp_path / name / "rows-40", rows, {})
        plans.append((list(rows), plan_steps(rows, 300, 40, seed=1)))
    assert plans[0] == plans[1]
    assert bytes_of(tmp_path / "one" / "rows-40") == bytes_of(tmp_path / "two" / "rows-40")


def test_a_part_that_was_damaged_is_made_anew(tmp_path: Path) -> None:
    wanted = tokenise(SHARDS, letters_of, tmp_path / "wanted", "key", 40)
    with pytest.raises(AssertionError, match="not kept"):
        tokenise(SHARDS, fails_at_the_end, tmp_path / "a", "key", 40)
    first, *others = sorted((tmp_path / ".a.parts").glob("key-*.npz"))
    assert len(others) == 3
    content = first.read_bytes()
    first.write_bytes(content[:99] + bytes([content[99] ^ 0xFF]) + content[100:])
    others[0].write_bytes(others[0].read_bytes()[:200])
    assert_same(tokenise(SHARDS, letters_of, tmp_path / "a", "key", 40), wanted)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "wanted")


def test_a_worker_that_was_killed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a worker process was killed .short of memory.*: use fewer processes or smaller shards"):
        tokenise(SHARDS, killed, tmp_path / "a", "key", 40, processes=2)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [(refused, AssertionError, "not kept"), (truncated, EOFError, "ended before"), (odd, RuntimeError, "OddError: one shard, two parts")],
)
def test_an_error_in_a_worker_is_the_callers(make: Make, error: type[Exception], words: str, tmp_path: Path) -> None:
    """Also one that looks like a lost connection, and one that cannot be pickled."""
    with pytest.raises(error, match=words) as caught:
        tokenise(SHARDS, make, tmp_path / "a", "key", 40, processes=2)
    assert "token_shards.py" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(how: signal.Signals, tmp_path: Path) -> None:
    """Killed, or stopped by Ctrl-C, in the middle of shards: workers are gone with it, what was finished is kept."""
    wanted = tokenise(SHARDS, letters_of, tmp_path / "wanted", "key", 40)
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell starts what it puts to the background deaf to it
        "from pathlib import Path\n"
        "from codetune.data.tokenise import tokenise\n"
        "from tests.data.token_shards import SHARDS, only_the_first_in_time\n"
        f"tokenise(SHARDS, only_the_first_in_time, Path({str(tmp_path / 'a')!r}), 'key', 40, 2, lambda done, of: print(done, flush=True))"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert run.stdout is not None
    assert [run.stdout.readline() for _ in range(2)] == ["0\n", "1\n"]
    run.kill() if how == signal.SIGKILL else os.killpg(run.pid, how)  # a terminal sends Ctrl-C to the workers, too
    _, errors = run.communicate(timeout=20)  # until every holder of the pipes, the workers too, is gone
    assert run.returncode == -how
    assert errors.count("Traceback") <= 1  # of the run itself; workers end without a word
    kept = list((tmp_path / ".a.parts").glob("key-*.npz"))
    assert len(kept) == 1
    begun: list[int] = []
    assert_same(tokenise(SHARDS, letters_of, tmp_path / "a", "key", 40, progress=lambda done, of: begun.append(done)), wanted)
    assert begun[0] == 1
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "wanted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "wanted"]


def test_no_shards_give_no_examples(tmp_path: Path) -> None:
    assert_same(tokenise([], letters_of, tmp_path / "none", "key", 9), join([], []))
