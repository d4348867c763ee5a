"""Where one machine is not enough: the jobs of a study on a Ray cluster, placed by their forecast memory.

    codetune study run recipes/quickstart.yaml --engine ray [--address ray://head:10001]

A job is the same process as on one machine, started by a Ray task: `python -m codetune.study.run`. It is placed where its forecast
peak fits, on a GPU as that share of it, so that several share one. A lost worker's job is tried again and goes on from its checkpoint.
All machines must see the study's folder, and the models and data of its recipe, under the same paths.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from codetune.config import StudyRecipe
from codetune.errors import UserError
from codetune.runs import read_rows
from codetune.study.drive import DONE, LOG, CellError, CellProgress, Job, child_of, require_success

PROGRESS = "progress.jsonl"  # in a job's folder: what its process says of how far it is
TRIES = 3  # of a job whose worker is lost
_POLL_S = 0.5
_CONNECT_S = 10.0


class RayEngine:
    """A cluster, or with no address a Ray of this machine. `cells_at_once` shares the cores of a machine, as without Ray."""

    def __init__(self, recipe: StudyRecipe, report: Callable[[CellProgress], None], address: str | None = None) -> None:
        """Raises UserError where Ray is not installed or no cluster answers."""
        self.ray = _ray()
        self.folder, self.at_once, self.report, self.address = recipe.folder, recipe.cells_at_once, report, address

    def all(self, starts: Sequence[CellProgress]) -> list[str]:
        """Run these jobs to their end; what went wrong with those that failed, a line each."""
        if not starts:
            return []
        with self._connected():
            placed, failures = self._placed(starts)
            try:
                return failures + self._await(placed)
            except BaseException:
                for task in placed:
                    with contextlib.suppress(Exception):
                        self.ray.cancel(task)
                self.ray.wait(list(placed), num_returns=len(placed), timeout=30)
                raise

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        self._require_someone()
        ours = signal.getsignal(signal.SIGTERM)
        try:
            here = {} if self.address else {"num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False}
            self.ray.init(address=self.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True, **here)
        except Exception as error:
            raise UserError(f"no Ray cluster at {self.address or 'this machine'}: {str(error).splitlines()[0]}") from None
        signal.signal(signal.SIGTERM, ours)  # Ray puts its own in place, which prints a trace of the C stack
        try:
            yield
        finally:
            self.ray.shutdown()

    def _require_someone(self) -> None:
        """Raises UserError where nobody listens at the address: Ray itself would try for minutes."""
        host, colon, port = (self.address or "").removeprefix("ray://").partition(":")
        if colon and port.isdigit():
            try:
                socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
            except OSError as error:
                raise UserError(f"no Ray cluster at {self.address}: {error.strerror or error}; start one by `ray start --head`") from None

    def _placed(self, starts: Sequence[CellProgress]) -> tuple[dict[Any, CellProgress], list[str]]:
        """Every job as a task that waits for its share of a machine; jobs that no machine can hold are failures at once."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cores = max(1, int(min(node.get("CPU", 1) for node in nodes)) // max(1, min(self.at_once, len(starts))))
        gpu_bytes = self._gpu_bytes() if any(node.get("GPU") for node in nodes) else None
        commands = {start.cell.folder: child_of(start.cell) for start in starts}
        needs = forecast_needs([Path(command[-1]) for command in commands.values()], self.folder, gpu_bytes)
        most = gpu_bytes or max(node.get("memory", math.inf) for node in nodes)
        work = self.ray.remote(max_retries=TRIES, retry_exceptions=False)(run_job)
        tasks, failures = {}, []
        for start in starts:
            command, needed = commands[start.cell.folder], needs[commands[start.cell.folder][-1]]
            if needed > most:
                cause = f"{needed / 1e9:.1f} GB forecast, and the largest {'GPU' if gpu_bytes else 'machine'} has {most / 1e9:.1f} GB"
                failures.append(_failed(start.cell, cause))
                continue
            share = {"num_gpus": min(1.0, math.ceil(100 * needed / gpu_bytes) / 100)} if gpu_bytes else {"memory": needed}
            name = f"{start.cell.row} {start.cell.data_label} {start.cell.seed}"
            tasks[work.options(num_cpus=cores, name=name, **share).remote(command[1:], str(start.cell.folder), cores)] = start
        return tasks, failures

    def _gpu_bytes(self) -> int:
        """Of the smallest GPU of the cluster, each machine asked for its first."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node["NodeID"] for node in self.ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
        there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
        asked = [self.ray.remote(num_gpus=0.01, scheduling_strategy=each)(gpu_memory).remote() for each in there]
        return int(min(self.ray.get(asked)))

    def _await(self, tasks: dict[Any, CellProgress]) -> list[str]:
        """Tells how far the jobs are until all have ended."""
        told = dict.fromkeys(tasks, 0)
        waiting, failures = list(tasks), []
        while waiting:
            ended, waiting = self.ray.wait(waiting, timeout=_POLL_S)
            for task in [*waiting, *ended]:
                told[task] = self._tell(tasks[task], told[task])
            for task in ended:
                self.report(replace(tasks[task], stage=DONE))
                try:
                    code, error = self.ray.get(task)
                    require_success(tasks[task].cell, code, error)
                except CellError as failure:
                    failures.append(str(failure))
                except self.ray.exceptions.RayError as lost:
                    failures.append(_failed(tasks[task].cell, f"its worker was lost {TRIES + 1} times ({type(lost).__name__})"))
        return failures

    def _tell(self, start: CellProgress, told: int) -> int:
        rows = read_rows(start.cell.folder / PROGRESS)
        for row in rows[told:] if told <= len(rows) else rows:  # a second try begins a new file
            if "stage" in row:
                self.report(CellProgress(start.cell, start.number, start.cells, **row))
        return len(rows)


def forecast_needs(paths: Sequence[Path], folder: Path, gpu_bytes: int | None = None) -> dict[str, int]:
    """Of many jobs, forecast in a child process; `folder` is where the list of them is written. Raises UserError where that fails."""
    listed = folder / "jobs.json"
    listed.write_text(json.dumps([str(path) for path in paths]))
    command = [sys.executable, "-W", "ignore", "-m", "codetune.study.needs", str(listed), *(["--gpu", str(gpu_bytes)] if gpu_bytes else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the forecast of what the cells need failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_job(arguments: list[str], folder: str, cores: int) -> tuple[int, str]:
    """On a worker: a job's process with this machine's Python, what it says in PROGRESS, its stderr in the log.

    Its exit code, and the mistake that it named. A cancelled task hands Ctrl-C on and waits for the checkpoint.
    """
    place, environment = Path(folder), {**os.environ, "OMP_NUM_THREADS": str(cores)}
    with (place / PROGRESS).open("w") as said, (place / LOG).open("a") as log:
        child = subprocess.Popen([sys.executable, *arguments], stdout=said, stderr=log, start_new_session=True, env=environment)
        try:
            while child.poll() is None:
                time.sleep(0.1)
        except BaseException:
            child.send_signal(signal.SIGINT)
            child.wait()
            return 130, ""
    errors = [row["error"] for row in read_rows(place / PROGRESS) if "error" in row]
    return child.returncode, str(errors[-1]) if errors else ""


def gpu_memory() -> int:
    """On a worker with a GPU: what its first one has, in bytes."""
    asked = "import torch; print(torch.cuda.get_device_properties(0).total_memory)"
    return int(subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout)


def _failed(job: Job, cause: str) -> str:
    """A failure that the job's own process cannot tell, in the words of those that it can."""
    try:
        require_success(job, 2, cause)
    except CellError as error:
        return str(error)
    raise AssertionError("code 2 is a failure")


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: run `pip install 'codetune[ray]'`, or leave out --engine") from None
    return ray
