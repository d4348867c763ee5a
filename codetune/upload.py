"""A folder's files to the Hugging Face hub in one commit; what goes wrong out there is one line that says what to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from codetune.errors import UserError

Kind = Literal["dataset", "model"]


def upload(folder: Path, to: str, kind: Kind, private: bool, message: str, files: Sequence[str] | None = None) -> str:
    """Create the repository `to` if need be and upload `files` (default: all); returns its address.

    Raises UserError where the hub refuses or cannot be reached.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    hub = HfApi()
    try:
        address = hub.create_repo(to, repo_type=kind, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=address.repo_id, folder_path=folder, repo_type=kind, commit_message=message,
            allow_patterns=list(files) if files is not None else None,
        )  # fmt: skip
    except HFValidationError as error:
        raise UserError(f"no repository {to!r}: {_line(error)}; give it as user/name") from None
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        raise UserError(f"the hub refused {to!r} ({_line(error)}): log in with `hf auth login`, with a token that may write") from None
    except (OfflineModeIsEnabled, HTTPError, OSError) as error:
        raise UserError(f"the hub cannot be reached ({_line(error)}): try again when online") from None
    return str(address)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
