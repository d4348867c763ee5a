"""The same work on many shards in several processes, which end at once with the process that wanted it done.

`concurrent.futures` can do neither: a running call cannot be ended before Python 3.14, and workers outlive a parent that was killed.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from codetune.errors import UserError

Shard = TypeVar("Shard")
Result = TypeVar("Result")
# One thread for each process: numpy, tokenizers and PyArrow would each start one for every core.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"
}  # fmt: skip


def over_shards(work: Callable[[Shard], Result], shards: Iterable[Shard], processes: int) -> Generator[Result, None, None]:
    """`work(shard)` for every shard, in their order; in this process where one is enough.

    `work` is pickled once for each process, a shard when it is begun: shards may be made as they are needed. Processes are started anew
    and not forked, since tokenizers have threads. However this ends (Ctrl-C, an error, `kill -9`), the workers are gone at once: close
    it, or read it to the end.
    Raises what `work` raises, and UserError where a worker was killed.
    """
    if processes > 1:
        begun = list(itertools.islice(coming := iter(shards), processes))  # as many as would be dealt out at once
        processes, shards = min(processes, len(begun)), itertools.chain(begun, coming)
    if processes <= 1:
        yield from map(work, shards)
        return
    workers: dict[Connection, SpawnProcess] = {}
    try:
        with _inherited():
            for _ in range(processes):
                link, process = _start(work)
                workers[link] = process
        yield from _in_order(_dealt(list(workers), shards))
    finally:
        for process in workers.values():
            process.kill()
        for link, process in workers.items():
            process.join()
            link.close()


def _start(work: Callable[[Any], Any]) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _dealt(links: Sequence[Connection], shards: Iterable[Any]) -> Iterator[tuple[int, Exception | None, Any]]:
    """The number of each shard with its error or result, as they come; each worker has one shard at a time."""
    waiting, busy = iter(enumerate(shards)), dict[Connection, int]()

    def give(link: Connection) -> None:
        for number, shard in waiting:
            busy[link] = number
            with _alive():
                link.send(shard)
            return

    for link in links:
        give(link)
    while busy:
        ready = wait(list(busy))
        for link in [link for link in busy if link in ready]:
            number = busy.pop(link)
            with _alive():
                answer = link.recv()
            give(link)
            yield number, *answer


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    """What is sent to a worker or read from it; raises UserError where it is gone."""
    try:
        yield
    except (EOFError, ConnectionError):
        killed = "a worker process was killed (short of memory?)"
        raise UserError(f"{killed}: use fewer processes or smaller shards; what was finished is kept") from None


def _in_order(answers: Iterator[tuple[int, Exception | None, Any]]) -> Iterator[Any]:
    """Results in the order of their shards, up to the first error: the same one in every run."""
    early: dict[int, tuple[Exception | None, Any]] = {}
    following = 0
    for number, error, result in answers:
        early[number] = error, result
        while following in early:
            error, result = early.pop(following)
            if error is not None:
                raise error
            yield result
            following += 1


def _serve(link: Connection, work: Callable[[Any], Any]) -> None:
    """A worker's life: it ends when the parent closes the link, and in the middle of its work when the parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            shard = link.recv()
            try:
                link.send((None, work(shard)))
            except ConnectionError:
                return
            except Exception as error:
                told, where = _portable(error), traceback.format_exc()
                told.add_note(f"in a worker process:\n{where}")
                link.send((told, None))


def _portable(error: Exception) -> Exception:
    """The error, or one with its words where its own class cannot be carried to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """What processes started meanwhile have from the start: one thread in each library, and Ctrl-C left to the parent."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    resource_tracker.ensure_running()  # else the first process starts it, and that lets Ctrl-C through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
