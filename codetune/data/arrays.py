"""Arrays in a folder, memory-mapped: the folder is whole or absent, and its files are known by their hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetune.config import content_hash
from codetune.errors import UserError
from codetune.runs import read_json, whole_folder, write_json

ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class Stream:
    """An array of one dimension as consecutive chunks, so that it need not be in memory as a whole."""

    dtype: str
    length: int
    chunks: Iterable[NDArray[Any]]

    @classmethod
    def of(cls, array: NDArray[Any]) -> Stream:
        return cls(array.dtype.str, len(array), [array])


def save_arrays(folder: Path, arrays: Mapping[str, Stream], about: Mapping[str, Any]) -> None:
    """Write each array as `<name>.npy`, and `about` with their SHA-256 as `about.json`; an older folder is replaced.

    A reader sees the old folder, none, or the whole new one. Raises OSError or UserError where it cannot be written.
    """
    with whole_folder(folder) as unfinished:
        hashes = {name: _write(unfinished / f"{name}.npy", stream) for name, stream in arrays.items()}
        told = {**about, "sha256": hashes}
        write_json(unfinished / ABOUT, {**told, "hash": content_hash(told)})


def load_arrays(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a folder, memory-mapped and read-only, and what it says about them.

    All files are read once and compared with their hashes. Raises UserError where one is missing or not what was written.
    """
    about = read_json(folder / ABOUT)
    told = {key: value for key, value in about.items() if key != "hash"} if isinstance(about, dict) else {}
    if not told or about.get("hash") != content_hash(told):
        raise _damaged(folder / ABOUT)
    arrays = {}
    for name, wanted in told["sha256"].items():
        path = folder / f"{name}.npy"
        try:
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == wanted
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}): remove {folder} to have it made again") from None
        if not same:
            raise _damaged(path)
        arrays[name] = np.asarray(np.load(path, mmap_mode="r"))
    return arrays, told


def _write(path: Path, stream: Stream) -> str:
    """Write a stream in numpy's own format; its hash."""
    digest, left = hashlib.sha256(), stream.length
    with path.open("wb+") as file:
        header = {"descr": stream.dtype, "fortran_order": False, "shape": (stream.length,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.seek(0)
        digest.update(file.read())
        for chunk in stream.chunks:
            raw = np.ascontiguousarray(chunk, dtype=stream.dtype).data
            left -= len(chunk)
            digest.update(raw)
            file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    assert left == 0, f"{path.name}: {left} values fewer than announced"
    return digest.hexdigest()


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: remove {path.parent} to have it made again")
