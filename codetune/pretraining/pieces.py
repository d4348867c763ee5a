"""Cut a folder's files into pieces that a narrow way back lets through, and join them where every hash is right.

The files are one after the other in the pieces, so that there are as few of these as their size allows.

    python -m codetune.pretraining.pieces cut runs/base-model-gpu/shipped runs/base-model-gpu/pieces
    python -m codetune.pretraining.pieces join pieces codetune/assets/codetune-base
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

from codetune.errors import UserError
from codetune.records import Json
from codetune.runs import read_json, whole_folder, write_json

LIST = "pieces.json"
MOST_BYTES = 15 << 20  # of a piece: a mebibyte less than what is allowed


def cut(folder: Path, target: Path, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Write all files of a folder into `target` as pieces of at most so many bytes, and the list of them; returns what was written.

    Raises UserError where the folder has no files.
    """
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if not names:
        raise UserError(f"{folder} has no files to cut into pieces")
    read = [(folder / name).read_bytes() for name in names]
    files = [{"name": name, "bytes": len(raw), "sha256": _sha256(raw)} for name, raw in zip(names, read, strict=True)]
    whole, pieces = b"".join(read), list[Json]()
    with whole_folder(target) as unfinished:
        for number, start in enumerate(range(0, max(1, len(whole)), most_bytes)):
            part, name = whole[start : start + most_bytes], f"piece-{number:03d}"
            (unfinished / name).write_bytes(part)
            pieces.append({"name": name, "bytes": len(part), "sha256": _sha256(part)})
        write_json(unfinished / LIST, {"files": files, "pieces": pieces})
    return sorted(target.iterdir())


def join(pieces: Path, target: Path) -> list[str]:
    """Put the files together again as the folder `target`, in the place of an older one; returns their names.

    Raises UserError where pieces are missing or not what was cut: all of them are named, and nothing is written.
    """
    if not (pieces / LIST).is_file():
        raise UserError(f"{pieces} has no {LIST}: it is not a folder of pieces, or the list did not come along")
    told = read_json(pieces / LIST)
    names = [piece["name"] for piece in told["pieces"]]
    if missing := [name for name in names if not (pieces / name).is_file()]:
        raise UserError(f"{pieces}: {len(missing)} of {len(names)} pieces are missing ({', '.join(missing)}); fetch them again")
    read = [(pieces / name).read_bytes() for name in names]
    if damaged := [piece["name"] for piece, raw in zip(told["pieces"], read, strict=True) if _sha256(raw) != piece["sha256"]]:
        raise UserError(f"{pieces}: not what was cut ({', '.join(damaged)}); fetch them again")
    for file in told["files"]:
        if PurePath(file["name"]).is_absolute() or ".." in PurePath(file["name"]).parts:
            raise UserError(f"{pieces / LIST} names {file['name']!r}, which is outside of the folder: it was not made by `cut`")
    whole, at = b"".join(read), 0
    with whole_folder(target) as unfinished:
        for file in told["files"]:
            raw = whole[at : at + file["bytes"]]
            at += file["bytes"]
            if _sha256(raw) != file["sha256"]:
                raise UserError(f"{pieces}: {file['name']} is not what was cut, though its pieces are; cut them again")
            (unfinished / file["name"]).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / file["name"]).write_bytes(raw)
    return [file["name"] for file in told["files"]]


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Cut or join. Exit code 2 for what cannot be."""
    parser = argparse.ArgumentParser(prog="python -m codetune.pretraining.pieces", description="Files in pieces, joined by their hashes.")
    parser.add_argument("what", choices=("cut", "join"))
    parser.add_argument("source", type=Path, help="a folder of files, or of pieces")
    parser.add_argument("target", type=Path, help="the folder to write")
    options = parser.parse_args(arguments)
    try:
        if options.what == "cut":
            print(f"{len(cut(options.source, options.target)) - 1} pieces in {options.target}")
        else:
            print(f"{', '.join(join(options.source, options.target))} in {options.target}, every hash as it was")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
