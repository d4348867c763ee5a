"""A prepared folder to the Hugging Face hub, as a data set that `datasets.load_dataset` reads."""

from __future__ import annotations

import os
from pathlib import Path

from codetune.data.prepared.read import CARD, MANIFEST, OVERLAP_FILE, files_of, read_manifest
from codetune.data.prepared.split import SPLITS
from codetune.errors import UserError


def push(folder: Path, to: str, private: bool = True) -> str:
    """Upload the folder's files in one commit; returns the address. Raises UserError where the hub refuses or cannot be reached."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    manifest = read_manifest(folder)
    wanted = [MANIFEST, CARD, OVERLAP_FILE, *(file.name for split in SPLITS for file in files_of(folder, split))]
    hub = HfApi()
    try:
        address = hub.create_repo(to, repo_type="dataset", private=private, exist_ok=True)
        message = f"{manifest['name']}, version {manifest['version']}"
        hub.upload_folder(repo_id=address.repo_id, folder_path=folder, repo_type="dataset", commit_message=message, allow_patterns=wanted)
    except HFValidationError as error:
        raise UserError(f"--to {to!r}: {_line(error)}; give it as user/name") from None
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        raise UserError(f"the hub refused {to!r} ({_line(error)}): log in with `hf auth login`, with a token that may write") from None
    except (OfflineModeIsEnabled, HTTPError, OSError) as error:
        raise UserError(f"the hub cannot be reached ({_line(error)}): try again when online") from None
    return str(address)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
