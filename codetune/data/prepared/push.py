"""A prepared folder to the Hugging Face hub, as a data set that `datasets.load_dataset` reads."""

from __future__ import annotations

from pathlib import Path

from codetune.data.prepared.read import CARD, MANIFEST, OVERLAP_FILE, files_of, read_manifest
from codetune.data.prepared.split import SPLITS
from codetune.upload import upload


def push(folder: Path, to: str, private: bool = True) -> str:
    """Upload the folder's files in one commit; returns the address. Raises UserError where the hub refuses or cannot be reached."""
    manifest = read_manifest(folder)
    wanted = [MANIFEST, CARD, OVERLAP_FILE, *(file.name for split in SPLITS for file in files_of(folder, split))]
    return upload(folder, to, "dataset", private, f"{manifest['name']}, version {manifest['version']}", wanted)
