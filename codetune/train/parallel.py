"""The processes that train one model together: which of them this is, and what they must agree on.

Each process takes its share of a step's rows (`train/plan.py`). The loss is divided by the supervised tokens of the whole step, so the sum
of all gradients is the gradient that one process would have had. A single process is a group of one, for which all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from codetune.errors import UserError
from codetune.train.launch import LAUNCHED, LOST

BUCKET_BYTES = 64 * 2**20  # gradients are summed in flat pieces of about this size
PATIENCE = timedelta(hours=2)  # the others wait while the first tokenises, writes a checkpoint or tries samples
Shared = TypeVar("Shared")


@dataclass(frozen=True, slots=True)
class Group:
    """`rank` of `size` processes; the first (rank 0) writes what there is to write."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """The sum of each value over all processes, the same bits in each of them."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def largest(self, *values: float) -> list[float]:
        """The largest of each value in any process: a wish of one (to stop, to save) is then everybody's."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def share(self, value: Shared) -> Shared:
        """The first process's value, in all; any that can be pickled."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[no-any-return]

    def gather(self, value: Shared) -> list[Shared]:
        """Every process's value, in all, in their order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Every gradient becomes the sum over all processes. One that a process lacks counts as zeros there."""
        if self.size == 1:
            return
        for parameter in (parameters := list(parameters)):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, summed in zip(bucket, torch.split(flat, [gradient.numel() for gradient in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    @torch.no_grad()
    def same_start(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the first one's trained weights, whatever its own machine drew."""
        if self.size > 1:
            for parameter in parameters:
                dist.broadcast(parameter.detach(), src=0)

    def refuse_differing(self, what: str, mark: str) -> None:
        """Raises UserError where processes are not of one mind about the model or the data: they would train another model each."""
        if self.size > 1 and int(self.largest(float(self.share(mark) != mark))[0]):
            raise UserError(f"the processes of this run see different {what}: give all machines the same files, versions and recipe")

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """The first process does what is inside, and the others after it: they find what it left in the cache."""
        if not self.leads:
            self.share(None)
        yield
        if self.leads:
            self.share(None)

    @contextlib.contextmanager
    def own_random_numbers(self) -> Iterator[None]:
        """Inside, each process draws its own numbers (dropout); outside all draw the same, now and after a resume."""
        if self.size == 1:
            yield
            return
        seed = int(torch.randint(2**62, ()))
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed + self.rank)
            yield

    def _reduced(self, values: Sequence[float], operation: Any) -> list[float]:
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, operation)
        return numbers.tolist()


ALONE = Group()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that `--nproc`, torchrun or accelerate launch has started this process in; a group of one where none has.

    Raises UserError where the others are not found, or this machine has no GPU left for this process; and, inside, where one of the
    others is gone, so that all end in one line. Started by `--nproc`, that line is the launcher's, who knows which was lost and why.
    """
    group = _join(device)
    try:
        yield group
    except (RuntimeError, dist.DistError) as error:
        if group.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error) or "onnection" in str(error)):
            raise
        if LAUNCHED in os.environ:
            raise SystemExit(LOST) from None
        raise UserError(
            "another process of this run ended, so this one ends too: see what that one said; "
            "the same command goes on from the last checkpoint"
        ) from None
    finally:
        if group.size > 1:
            dist.destroy_process_group()


def _join(device: str) -> Group:
    size, rank = int(os.environ.get("WORLD_SIZE") or 1), int(os.environ.get("RANK") or 0)
    if size == 1:
        return ALONE
    on_gpu = device == "cuda"
    if on_gpu:
        place, gpus = int(os.environ.get("LOCAL_RANK") or 0), torch.cuda.device_count()
        if place >= gpus:
            raise UserError(f"process {place + 1} on this machine has no GPU of its own: there are {gpus}; start {gpus} processes here")
        torch.cuda.set_device(place)
    try:
        # Gloo beside NCCL: what is agreed on is a number or two on the CPU, and need not wait for the GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    except (ValueError, RuntimeError, dist.DistError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"process {rank} of {size} cannot join the others at {where}: {reason}; start it by --nproc or torchrun") from None
    return Group(rank, size)


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Neighbours of one dtype together, up to BUCKET_BYTES."""
    bucket: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size + tensor.nbytes > BUCKET_BYTES or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket
