"""A study's nursery: loads libraries, data and base model once, and forks a child for every job, which finds them there.

    python -m codetune.study.nursery FD THREADS        started by codetune.study.children

What makes forking safe here: this process works in one thread (memory allocators and BLAS may have others, and see to them in a fork), has
never computed anything in parallel (OpenMP's threads would be missing in the child, which would wait for them forever), and has not touched
a GPU. A child does all that anew.
What is shared is shared copy on write, so a child's results are those of a process of its own, bit for bit.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from codetune.config import DataConfig, DecontaminateConfig
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.files import use_root
from codetune.data.training import training_data
from codetune.models.load import forget_models, keep_model
from codetune.models.machine import compute_with, gpu_lost_by_fork, note_libraries, process_bytes, reset_peak
from codetune.models.names import SHIPPED
from codetune.once import keep_results
from codetune.runs import read_json
from codetune.study.children import READY, UNSAFE
from codetune.study.plan import JOB, CellConfig, SearchJob
from codetune.study.run import die_with_parent, run_job

_SHARE = 0.1  # of the memory that is free: a base model that takes more of it is loaded by each cell
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True, slots=True)
class _Job:
    """What a child was forked for, as it was sent."""

    config: Path
    stdout: int
    log: int
    channel: int
    nursery: int  # process


def main() -> int:
    die_with_parent()
    for number in _SIGNALS:  # what they end is the jobs, one by one
        signal.signal(number, signal.SIG_IGN)
    control, threads = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    compute_with(1)
    process_bytes()  # of a forecast: what the libraries hold before there is data or a model
    note_libraries()
    keep_results()
    if not _forks_safely():
        control.send(UNSAFE)
        return 0
    control.send(READY)
    job = _Forking(control).serve()
    return 0 if job is None else _child(job, threads)


def _forks_safely() -> bool:
    """Whether a child could use a GPU, were there one. Something that was imported may have touched it."""
    pid = os.fork()
    if pid == 0:
        os._exit(int(gpu_lost_by_fork()))
    return os.waitpid(pid, 0)[1] == 0


class _Forking:
    """Children by the file descriptors that stand for them: the socket of whoever waits for one, and what says that one has ended."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.pids: dict[int, int] = {}  # by channel, and by what tells of the end
        self.channels: dict[int, int] = {}  # by what tells of the end

    def serve(self) -> _Job | None:
        """Forks, waits and hands on signals until nobody asks any more: None. In a child: its job."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        while True:
            number = poll.poll()[0][0]  # one at a time: each may close others
            if number in self.channels:
                channel = self._ended(number)
                for each in (number, channel):
                    with contextlib.suppress(KeyError):
                        poll.unregister(each)
                    os.close(each)
            elif number in self.pids:
                if not self._hand_on(number):  # whoever waited is gone
                    poll.unregister(number)
            else:
                message, descriptors, _, _ = socket.recv_fds(self.control, 65536, 3)
                if not message:
                    return None
                job = _Job(Path(message.decode()), descriptors[0], descriptors[1], descriptors[2], os.getpid())
                if (end := self._fork(job)) is None:
                    return job
                poll.register(job.channel, select.POLLIN)
                poll.register(end, select.POLLIN)

    def _fork(self, job: _Job) -> int | None:
        """A descriptor that tells of the child's end; None in the child."""
        _share_if_possible(job.config)
        gc.collect()
        gc.freeze()  # what is shared is never looked through by a child's collector, which would copy it
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            for number in (*self.channels, *self.channels.values()):
                os.close(number)
            self.control.close()
            return None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(job.stdout)
        os.close(job.log)
        end = os.pidfd_open(pid)
        self.pids |= {job.channel: pid, end: pid}
        self.channels[end] = job.channel
        return end

    def _ended(self, end: int) -> int:
        """Tell the one who waits; the channel, which is used no more."""
        channel, pid = self.channels.pop(end), self.pids.pop(end)
        del self.pids[channel]
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            os.write(channel, str(code).encode())
        return channel

    def _hand_on(self, channel: int) -> bool:
        """A signal for a child, which is not yet waited for, so that its number is still its own."""
        said = os.read(channel, 64)
        if said:
            os.kill(self.pids[channel], int(said))
        return bool(said)


def _share_if_possible(config: Path) -> None:
    """Whatever goes wrong here the child meets again, and says so; SIGINT ends it, as somebody waits for the child to be there."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _share(config)
    except (Exception, KeyboardInterrupt):
        forget_models()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _share(config: Path) -> None:
    """Load what this job and others of its kind start from, unless it is there. Raises UserError as the job would."""
    job = SearchJob.model_validate(read_json(config)) if config.name == JOB else CellConfig.model_validate(read_json(config))
    recipe, model = job.train, _model_of(config)
    wanted: list[tuple[DataConfig, DecontaminateConfig | None]] = [(recipe.data, recipe.decontaminate)] if recipe else []
    if isinstance(job, CellConfig):
        use_root(job.data.root)
        wanted.append((job.data, job.decontaminate))
    folder = SHIPPED.get(model, Path(model))
    plain = recipe is None or (recipe.start is None and recipe.architecture is None and recipe.train.precision != "bf16_weights")
    if plain and (folder / "config.json").is_file() and 2 * _size(folder) <= _SHARE * psutil.virtual_memory().available:
        keep_model(model)
    for name in job.benchmarks if isinstance(job, CellConfig) else ():
        load_benchmark(name)
    for data, decontaminate in wanted:
        training_data(data, decontaminate)


def _size(folder: Path) -> int:
    """Bytes of a model's weights on disk: bf16, twice as many in memory."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _child(job: _Job, threads: int) -> int:
    """The job, as in a process that was started for it."""
    for given, standard in ((job.stdout, 1), (job.log, 2)):
        os.dup2(given, standard)
        os.close(given)
    os.close(job.channel)
    os.setsid()
    die_with_parent()
    if os.getppid() != job.nursery:
        return 1
    compute_with(threads)
    forget_models(but=_model_of(job.config))
    reset_peak("cpu")  # what the nursery held is none of the child's
    return run_job(job.config)


def _model_of(config: Path) -> str:
    given = read_json(config)
    return str(given["train"]["model"] if config.name == JOB else given["model"])


if __name__ == "__main__":
    sys.exit(main())
