"""The example notebook runs from top to bottom on what ships with codetune, and is stored without outputs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import codetune
from codetune.models.names import SHIPPED

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "quickstart.ipynb"


def cells_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_no_outputs_are_stored() -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in cells_of(notebook) if cell.outputs or cell.execution_count is not None]


def test_the_calls_stay_callable() -> None:
    """`codetune.evaluate`, `score` and `study` are modules, too; importing those must not take the calls' place, nor the other way."""
    for _ in range(2):
        assert not [name for name in codetune.__all__ if not callable(getattr(codetune, name))]
        assert importlib.import_module("codetune.study.tables").format_bytes(1000) == codetune.study.tables.format_bytes(1000)
    with pytest.raises(codetune.UserError, match="unknown benchmark"):
        codetune.score([], "no-such-benchmark")


@pytest.mark.slow
@pytest.mark.skipif(not (SHIPPED["codetune-base"] / "config.json").exists(), reason="needs the shipped model: `make base-model` makes it")
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETUNE_TINY", "1")
    monkeypatch.setenv("CODETUNE_CACHE", str(tmp_path / "cache"))
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in cells_of(notebook) for output in cell.outputs)
    folder = tmp_path / "runs" / "notebook"
    assert "untuned: pass@1" in printed
    assert "pass@1 = 0.333" in printed, "of three answers one is right"
    assert (folder / "lora" / "adapter" / "adapter_config.json").is_file()
    assert (folder / "study" / "report.html").is_file()
