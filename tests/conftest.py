"""What all tests share: where the real data sets are."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: two workers with two threads each on two cores wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = os.environ.get("CODETUNE_DATA")


# What the tests of each of these share takes seconds to make: one worker makes it, and runs them all.
SHARING = (
    "train/test_parallel", "train/test_checkpoints", "train/test_policies", "train/test_halved", "study/test_drive",
    "study/test_measuring", "study/test_diagnosis", "serve/test_page", "serve/test_page_access", "serve/test_page_programs",
    "cli/test_serve", "cli/test_stages", "exactness/test_torture", "sandbox/test_attacks", "mending/test_mending", "export/test_cards",
    "score/test_verdict_cache", "study/test_browse", "study/test_judge", "study/test_published", "study/test_side_by_side",
    "study/test_study_figures", "study/test_report", "study/test_study_verdicts", "serve/test_ask", "serve/test_guard",
    "serve/test_openai_client", "serve/test_openai_fields", "serve/test_watching", "data/test_execution_benchmarks",
    "data/codebase/test_code", "test_evaluate", "test_layers", "test_wheel",
)  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Test by test, but for those. (`--dist loadgroup` is for this, and does nothing with pytest 9.2 and xdist 3.8.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file.removeprefix("tests/").removesuffix(".py") in SHARING else nodeid

    return Sharing(config, log)


def pytest_collection_finish() -> None:
    """What is there before the first test stays: looking for garbage among half a million objects takes a quarter of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What earlier runs kept, verdicts among it, is nothing to a test; nor are real data sets to one that does not ask for them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("CODETUNE_DATA", raising=False)
        environment.setenv("CODETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets: CODETUNE_DATA, else ../shared/data beside the checkout; without it the test is skipped."""
    folder = Path(DATA or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs real data sets: {folder} is not there; set CODETUNE_DATA")
    return folder.resolve()
