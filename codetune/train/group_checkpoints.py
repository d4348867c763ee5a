"""Checkpoints of a run in several processes: kept by the first for all, or a shard from each, to be gone on from by any number.

Shards are written by torch.distributed.checkpoint into the same folders, under the same checksums, as all checkpoints are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from torch.distributed.tensor import DTensor
from torch.utils import _pytree as pytree

from codetune.records import Json
from codetune.runs import whole_folder
from codetune.train.checkpoints import DamagedError, checksum_of, read_state, seal, write_state
from codetune.train.optimizer import Optimizer
from codetune.train.parallel import Group
from codetune.train.resume import STATE, Checkpoints, Progress, Trained, random_state, set_random_state

SHARDS = "shards"
Result = TypeVar("Result")


class LeadersCheckpoints(Checkpoints):
    """Where every process holds all weights the first one's disk serves them all; nothing need be shared between machines."""

    def __init__(self, folder: Path, kept: int, warn: Callable[[str], None], first: Callable[[], None], group: Group) -> None:
        super().__init__(folder, kept, warn, first)
        self._group = group

    def save(self, trained: Trained, optimizer: Optimizer, progress: Progress) -> bool:
        return self._group.share(super().save(trained, optimizer, progress) if self._group.leads else False)

    def save_last(self, trained: Trained, optimizer: Optimizer, progress: Progress, one_more: bool = False) -> None:
        if self._group.leads:
            super().save_last(trained, optimizer, progress, one_more)
        self._group.share(None)

    def save_best(self, trained: Trained, progress: Progress) -> None:
        progress.best_step = progress.step
        if self._group.leads:
            super().save_best(trained, progress)

    def load_best(self, trained: Trained, progress: Progress) -> bool:
        found = self._group.share(super().load_best(trained, progress) if self._group.leads else False)
        self._group.same_start(trained.values())
        return found

    def load(self, trained: Trained, optimizer: Optimizer) -> Progress | None:
        progress = super().load(trained, optimizer) if self._group.leads else None
        state = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), optimizer.state_dict())
        found = self._group.share((progress, state, random_state()) if progress is not None else None)
        if found is None:
            return None
        progress, state, random = found
        self._group.same_start(trained.values())
        optimizer.load_state_dict(state)
        set_random_state(random)
        return progress


@dataclass(frozen=True, slots=True)
class _Shard:
    """A tensor of a state of which every process holds a part: `name` is the parameter's that it is shaped like."""

    key: str
    name: str
    part: torch.Tensor


class ShardedCheckpoints(Checkpoints):
    """Every process writes its shards into a folder that all of them see; the first looks after the rest.

    `parameters` are the sharded parameters by name, empty in a process that is alone and holds them whole.
    """

    def __init__(
        self,
        folder: Path,
        kept: int,
        warn: Callable[[str], None],
        first: Callable[[], None],
        group: Group,
        parameters: Mapping[str, DTensor],
    ) -> None:
        super().__init__(folder, kept, warn, lambda: self._together(first if group.leads else lambda: None))
        self._group, self._parameters = group, parameters
        self._trained: Trained = {}

    def load(self, trained: Trained, optimizer: Optimizer) -> Progress | None:
        self._trained = trained  # what a checkpoint is read into
        return super().load(trained, optimizer)

    def _state(self, trained: Trained, optimizer: Optimizer, progress: Progress) -> Json:
        state = super()._state(trained, optimizer, progress)
        state["trained"] = self._as_shards(state["trained"])
        for number, (part, saved) in enumerate(zip(optimizer.parts, state["optimizer"], strict=False)):
            names = {id(parameter): name for name, parameter in trained.items()}
            order = [names[id(parameter)] for group in part.param_groups for parameter in group["params"]]
            saved["state"] = {
                index: {kind: _moment(f"optimizer/{number}", order[index], kind, value, trained) for kind, value in moments.items()}
                for index, moments in saved["state"].items()
            }
        return state

    def _write_best(self, step: int, weights: dict[str, torch.Tensor]) -> None:
        super()._write_best(step, self._as_shards(weights))

    def _as_shards(self, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
        return {name: _Shard(f"trained/{name}", name, weight) for name, weight in weights.items()}

    def _write(self, target: Path, state: Json, about: Json) -> None:
        shards: dict[str, torch.Tensor] = {}
        rest = _taken_out(state, lambda shard: shards.update({shard.key: self._whole(shard.name, shard.part)}))
        with contextlib.ExitStack() as stack:
            made = self._together(lambda: stack.enter_context(whole_folder(target)) if self._group.leads else None)
            files = self._together(lambda: self._write_files(self._group.share(made) or target, shards, rest))
            self._together(lambda: seal(made, files, about) if made is not None else None)
            self._together(stack.close)

    def _write_files(self, folder: Path, shards: dict[str, torch.Tensor], rest: Json) -> Json:
        """Returns the checksums of all files of all processes."""
        rank = self._group.rank
        save_shards(shards, storage_writer=FileSystemWriter(folder / SHARDS), no_dist=self._group.size == 1)
        own = {f"{SHARDS}/{file.name}": checksum_of(file) for file in (folder / SHARDS).glob(f"__{rank}_*")}
        if self._group.leads:
            own |= {f"{SHARDS}/.metadata": checksum_of(folder / SHARDS / ".metadata"), STATE: write_state(folder / STATE, rest)}
        return {name: found for each in self._group.gather(own) for name, found in each.items()}

    def _together(self, action: Callable[[], Result]) -> Result:
        """What an action gives, if it succeeds in all processes. Raises OSError in all where the disk refused it in one."""
        result: Result | None = None
        problem: str | None = None
        try:
            result = action()
        except (OSError, CheckpointException) as error:
            problem = getattr(error, "strerror", None) or " ".join(str(error).split())[-200:]
        if found := [each for each in self._group.gather(problem) if each is not None]:
            raise OSError(found[0])
        return result  # type: ignore[return-value]

    def _verify(self, path: Path) -> Json:
        """The first process reads all files, the others believe it."""
        about, problem = None, None
        if self._group.leads:
            try:
                about = super()._verify(path)
            except DamagedError as error:
                problem = str(error)
        about, problem = self._group.share((about, problem))
        if about is None:
            raise DamagedError(problem)
        return about

    def _read(self, path: Path) -> Any:
        """A state with this process's shards in it, however many processes wrote it. Raises DamagedError for one of another model."""
        reader = FileSystemReader(path / SHARDS)
        wanted: dict[str, torch.Tensor] = {}
        for key, told in reader.read_metadata().state_dict_metadata.items():
            name = key.split("/")[1 if key.startswith("trained/") else 2]
            whole = self._whole(name, torch.empty_like(self._trained[name])) if name in self._trained else None
            if not isinstance(told, TensorStorageMetadata) or whole is None or whole.shape != told.size:
                raise DamagedError("it has the weights of another model or method")
            wanted[key] = whole.to(told.properties.dtype)
        load_shards(wanted, storage_reader=reader, no_dist=self._group.size == 1)
        parts = {key: whole.to_local() if isinstance(whole, DTensor) else whole for key, whole in wanted.items()}
        return _put_in(read_state(path / STATE), parts)

    def _prune(self, kept: int) -> None:
        if self._group.leads:
            super()._prune(kept)

    def _whole(self, name: str, part: torch.Tensor) -> torch.Tensor:
        """A part as one of a tensor that is sharded as the parameter of that name is."""
        like = self._parameters.get(name)
        if like is None:
            return part
        return DTensor.from_local(part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())


def _moment(place: str, name: str, kind: str, value: Any, trained: Trained) -> Any:
    """What an optimiser keeps of a parameter: a shard where it is shaped like it, and else the same in every process."""
    shaped = isinstance(value, torch.Tensor) and value.ndim and value.shape == trained[name].shape
    return _Shard(f"{place}/{name}/{kind}", name, value) if shaped else value


def _taken_out(state: Any, take: Callable[[_Shard], None]) -> Any:
    """A state with the keys of its shards in their places."""
    if isinstance(state, _Shard):
        take(state)
        return {SHARDS: state.key}
    if isinstance(state, dict):
        return {name: _taken_out(value, take) for name, value in state.items()}
    return [_taken_out(value, take) for value in state] if isinstance(state, list) else state


def _put_in(state: Any, parts: Mapping[str, torch.Tensor]) -> Any:
    """The state again, with parts in the places of their keys."""
    if isinstance(state, dict):
        return parts[state[SHARDS]] if state.keys() == {SHARDS} else {name: _put_in(value, parts) for name, value in state.items()}
    return [_put_in(value, parts) for value in state] if isinstance(state, list) else state
