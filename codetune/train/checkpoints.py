"""States on disk that are whole or absent: streamed to a folder with checksums, and every byte checked before one is believed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from codetune.errors import UserError
from codetune.records import Json
from codetune.runs import read_json, whole_folder

ABOUT = "about.json"
_CHUNK = 1 << 22


class DamagedError(Exception):
    """A saved state that cannot be believed: one line that says what is wrong with it."""


@dataclass(slots=True)
class _Summed:
    """A file that keeps a checksum of what is written to it, and what the disk refused: torch hides that behind an error of its own."""

    file: BinaryIO
    crc32: int = 0
    size: int = 0
    refused: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        self.size += len(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.refused = error
            raise

    def flush(self) -> None:
        self.file.flush()


def write_state(path: Path, state: Any) -> Json:
    """Stream a state of tensors and plain values to disk; returns its checksum. Raises OSError where the disk takes no more.

    Nothing is copied on the way but one tensor at a time from a GPU. CRC-32 finds every damage of up to four bytes in a row, and all but
    one in four billion of the others, at twice the speed of SHA-256: it guards against disks, not against people.
    """
    with path.open("wb") as file:
        summed = _Summed(file)
        try:
            torch.save(state, cast(IO[bytes], summed))
        except RuntimeError:
            if summed.refused is None:
                raise
            raise summed.refused from None
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": summed.size, "crc32": f"{summed.crc32:08x}"}


def read_state(path: Path) -> Any:
    """A state that `verify` found whole, its tensors mapped from the file until they are written to."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def write_folder(target: Path, states: Mapping[str, Any], about: Json) -> None:
    """States by file name, and what else is to be known of them, as one folder that is there when all of it is on disk.

    Raises OSError where the disk takes no more; then nothing is left of it, and what had this name before is untouched.
    """
    with whole_folder(target) as made:
        files = {name: write_state(made / name, state) for name, state in states.items()}
        seal(made, files, about)


def seal(folder: Path, files: Mapping[str, Json], about: Json) -> None:
    """Write a folder's checksums, the last of its files."""
    told = {**about, "files": dict(files)}
    with (folder / ABOUT).open("w") as file:
        json.dump(told | {"crc32": _sum_of(told)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def verify(folder: Path) -> Json:
    """What a folder says about itself, when all that it names is there and as it was written. Raises DamagedError."""
    about = read_about(folder)
    for name, wanted in about["files"].items():
        path = folder / name
        try:
            found = checksum_of(path)
        except OSError as error:
            raise DamagedError(f"{name}: {error.strerror}") from None
        if found["bytes"] != wanted["bytes"]:
            raise DamagedError(f"{name} has {found['bytes']:,} of {wanted['bytes']:,} bytes")
        if found["crc32"] != wanted["crc32"]:
            raise DamagedError(f"{name} is not as it was written: checksum {found['crc32']}, not {wanted['crc32']}")
    return about


def read_about(folder: Path) -> Json:
    """What a folder says about itself; its states are not looked at. Raises DamagedError."""
    try:
        about = read_json(folder / ABOUT)
        wanted = about.pop("crc32")
        whole = _sum_of(about) == wanted and isinstance(about["files"], dict)
    except (UserError, OSError, KeyError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise DamagedError(f"{ABOUT} cannot be read")
    return dict(about)


def _sum_of(about: Json) -> str:
    return f"{zlib.crc32(json.dumps(about, sort_keys=True).encode()):08x}"


def checksum_of(path: Path) -> Json:
    """A file's size and CRC-32."""
    crc32, size, buffer = 0, 0, bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            crc32, size = zlib.crc32(memoryview(buffer)[:count], crc32), size + count
    return {"bytes": size, "crc32": f"{crc32:08x}"}
