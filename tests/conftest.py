"""What all tests share: where the real data sets are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported: two workers with two threads each on two cores wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What earlier runs kept, verdicts among it, is nothing to a test."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CODETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets: CODETUNE_DATA, else ../shared/data beside the checkout; without it the test is skipped."""
    folder = Path(os.environ.get("CODETUNE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs real data sets: {folder} is not there; set CODETUNE_DATA")
    return folder.resolve()
