"""Runs and studies as the page watches them: read from the records that they write anyway, by ids that lead nowhere else.

An id is a folder's path below the runs folder with ":" for "/": `quickstart:cells:lora-1a2b3c4d5e6f`; ":" alone is the runs folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codetune.models.stages import read
from codetune.records import Json
from codetune.runs import in_use, read_rows
from codetune.serve.errors import UnknownIdError
from codetune.shelf.describe import chosen_settings, results_of, scores_of
from codetune.shelf.find import Found, find, look_at
from codetune.shelf.kinds import METRICS, STUDY, Kind, kind_of

REPORT = "report.html"
_TRAININGS: tuple[Kind, ...] = ("run", "cell", "trial")
_SAMPLES = "samples.jsonl"
_ROOT = ":"
_MOST_POINTS = 600  # of a curve
_MOST_SAMPLES = 30  # the latest
_MOST_LISTED = 500
_REPORT_FILES = {
    ".html": "text/html; charset=utf-8", ".md": "text/plain; charset=utf-8", ".csv": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".pdf": "application/pdf", ".json": "application/json",
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".parquet": "application/octet-stream",
}  # fmt: skip
_PLOTS = "plots"  # the one folder of a study that its report has files in


def runs(root: Path) -> list[Json]:
    """Trainings below the root, cells of studies and trials of searches among them, the latest first."""
    found = [one for one in find([root], parts=True) if one.kind in _TRAININGS] if root.is_dir() else []
    found.sort(key=lambda one: (-one.changed, str(one.path)))
    return [_listed(root, one) for one in found[:_MOST_LISTED]]


def run(root: Path, id: str) -> Json:
    """One training with its curves. Raises UnknownIdError."""
    folder = folder_of(root, id)
    found = look_at(folder) if kind_of(folder) in _TRAININGS else None
    if found is None:
        raise UnknownIdError(f"no training run {id!r}: it may have been removed")
    rows = {int(row["step"]): row for row in read_rows(folder / METRICS) if isinstance(row.get("step"), int)}
    metrics = [rows[step] for step in sorted(rows)]
    last: Json = next((row for row in reversed(metrics) if "seconds" in row), {})  # of a step that was made
    listed = _listed(root, found)
    return listed | {
        "step": last.get("step", 0), "steps": last.get("steps"), "tokens_per_s": last.get("tokens_per_s"),
        "seconds_left": _seconds_left(last) if listed["state"] == "running" else None,
        "loss": curve(metrics, "loss"), "val_loss": curve(metrics, "val_loss"), "pass_rate": curve(metrics, "pass_rate"),
        "samples": _samples(folder), "facts": _facts(folder),
    }  # fmt: skip


def studies(root: Path) -> list[Json]:
    """Studies below the root, the latest first."""
    found = [one for one in find([root]) if one.kind == "study"] if root.is_dir() else []
    found.sort(key=lambda one: (-one.changed, str(one.path)))
    return [
        {
            "id": id_of(root, one.path), "name": one.name, "updated": one.changed, "state": one.state,
            "has_report": (one.path / REPORT).is_file(), "running": in_use(one.path),
        }
        for one in found[:_MOST_LISTED]
    ]  # fmt: skip


def report_file(root: Path, id: str, path: str) -> tuple[Path, str]:
    """A file of a study's report and its media type. Raises UnknownIdError for whatever is none, links among it."""
    folder = folder_of(root, id)
    parts = (path or REPORT).split("/")
    file = folder.joinpath(*parts)
    kind = _REPORT_FILES.get(file.suffix)
    is_place = len(parts) == 1 or parts[0] == _PLOTS
    if not (_are_names(parts) and kind and is_place and kind_of(folder) == "study" and _is_plain(folder, parts) and file.is_file()):
        raise UnknownIdError(f"the study {id!r} has no report file {path!r}")
    return file, kind


def folder_of(root: Path, id: str) -> Path:
    """The folder that an id stands for: below the root, with no link on the way. Raises UnknownIdError."""
    if id == _ROOT:
        return root
    parts = [part.replace("%3A", ":").replace("%25", "%") for part in id.split(":")]
    if not _are_names(parts) or not _is_plain(root, parts):
        raise UnknownIdError(f"nothing in the runs folder has the id {id!r}")
    return root.joinpath(*parts)


def id_of(root: Path, folder: Path) -> str:
    """The id of a folder below the root."""
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in folder.relative_to(root).parts) or _ROOT


def curve(rows: Sequence[Json], name: str) -> list[list[float]]:
    """[step, value] wherever a row has the value; of a long curve evenly spaced points, first and last among them."""
    points = [[row["step"], row[name]] for row in rows if isinstance(row.get(name), int | float) and row[name] - row[name] == 0]
    if len(points) <= _MOST_POINTS:
        return points
    return [points[at * (len(points) - 1) // (_MOST_POINTS - 1)] for at in range(_MOST_POINTS)]


def _are_names(parts: Sequence[str]) -> bool:
    """Whether each is the name of one entry: what is hidden, and what leads up or elsewhere, is none."""
    return all(part and not part.startswith(".") and not set(part) & set("/\\\0") and len(part.encode()) < 256 for part in parts)


def _is_plain(root: Path, parts: Sequence[str]) -> bool:
    """Whether every step from the root is there and no symbolic link."""
    places = [root.joinpath(*parts[: number + 1]) for number in range(len(parts))]
    return all(place.exists() and not place.is_symlink() for place in places)


def _listed(root: Path, found: Found) -> Json:
    return {
        "id": id_of(root, found.path), "name": found.name, "kind": found.kind, "state": _state(found), "detail": found.state,
        "model": found.model, "method": found.method, "data": found.data, "updated": found.changed,
        "study": read(found.path.parent.parent / STUDY).get("name") if found.kind == "cell" else None,
    }  # fmt: skip


def _state(found: Found) -> str:
    """"running", "done", "stopped" or "begun"; `detail` says more."""
    if in_use(found.path):
        return "running"
    if found.done or found.state.startswith(("done", "trained")):
        return "done"
    return "stopped" if found.state.startswith(("stopped", "ended")) else "begun"


def _seconds_left(last: Json) -> float | None:
    """As long as the steps so far took, for those that are left."""
    step, steps, seconds = last.get("step"), last.get("steps"), last.get("seconds")
    return seconds / step * (steps - step) if step and steps and seconds is not None else None


def _samples(folder: Path) -> list[Json]:
    """The latest answers of the model in training, the latest first."""
    rows = [row for row in read_rows(folder / _SAMPLES) if isinstance(row.get("step"), int)][-_MOST_SAMPLES:]
    return [
        {
            "step": row["step"], "prompt": str(row.get("task_id", "")), "text": str(row.get("completion", "")),
            "verdict": str(row.get("verdict", "")), "detail": str(row.get("detail", "")),
        }
        for row in reversed(rows)
    ]  # fmt: skip


def _facts(folder: Path) -> Json:
    """The settings that are not the defaults of their method, and what came of them, by name."""
    return chosen_settings(folder) | results_of(folder) | scores_of(folder)
