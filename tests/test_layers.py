"""The architecture, checked: imports point down, torch stays out of the light commands, no module circles, no junk-drawer names."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "codetune"

# docs/architecture.md, "Layers": a module may import from its own layer and from those below.
LAYERS = {
    "callable": 0, "errors": 0, "imports": 0, "records": 0,
    "config": 1, "data_recipe": 1, "once": 1, "runs": 1, "upload": 1,
    "data": 2, "prompts": 2, "methods": 2, "sandbox": 2,
    "batches": 3, "models": 3,
    "generate": 4, "score": 4, "train": 4, "probe": 5,
    "evaluate": 5, "compare": 5, "mending": 5,
    "api": 6, "export": 6, "tuning": 6, "study": 6, "serve": 6, "shelf": 6, "pretraining": 6,
    "cli": 7,
}  # fmt: skip

# Only these put the parts together, or forecast them; in `study` and `evaluate` everything else is given what it works with.
WIRING = {
    "codetune.study.run", "codetune.study.forecasting", "codetune.study.settle", "codetune.study.budgets", "codetune.study.needs",
    "codetune.study.measuring", "codetune.study.nursery",
    "codetune", "codetune.api", "codetune.tuning",
}  # fmt: skip
ENGINES_AND_TRAINING = ("codetune.train", "codetune.generate.engine")

# torch may be imported where tensors are, and nowhere else.
TENSOR_MODULES = (
    "codetune.batches", "codetune.methods", "codetune.models", "codetune.train", "codetune.generate", "codetune.pretraining",
    "codetune.probe",
)  # fmt: skip
HEAVY = ("torch", "transformers", "peft", "accelerate")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def runtime_nodes(tree: ast.AST) -> list[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`, which nothing imports when the program runs."""
    nodes, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting.extend(node.orelse)
            continue
        nodes.append(node)
        waiting.extend(ast.iter_child_nodes(node))
    return nodes


def imports_of(name: str) -> set[str]:
    """Full names of all modules that a module imports, anywhere in its body; codetune's own down to the module."""
    found: set[str] = set()
    for node in runtime_nodes(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write imports in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
    return found


IMPORTS = {name: imports_of(name) for name in MODULES}
OWN = {name: {each for each in found if each in MODULES} - {name} for name, found in IMPORTS.items()}


def layer(name: str) -> int | None:
    """The layer of a module; None for the package itself, whose `__init__` only hands out names."""
    parts = name.split(".")
    return LAYERS[parts[1]] if len(parts) > 1 else None


def inside(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_every_module_has_a_layer() -> None:
    unplaced = {name for name in MODULES if name.count(".") and name.split(".")[1] not in LAYERS}
    assert not unplaced, f"give these a layer here and in docs/architecture.md: {unplaced}"


def test_imports_point_down() -> None:
    upward = [
        f"{name} (layer {layer(name)}) imports {other} (layer {layer(other)})"
        for name, found in OWN.items()
        for other in found
        if layer(name) is not None and (layer(other) is None or layer(other) > layer(name))  # type: ignore[operator]
        if other != "codetune"
    ]
    assert not upward, upward


def test_only_the_command_line_and_study_run_wire_the_parts() -> None:
    wiring = [
        f"{name} imports {other}"
        for name, found in OWN.items()
        for other in found
        if inside(name, ("codetune.evaluate", "codetune.study")) and name not in WIRING and inside(other, ENGINES_AND_TRAINING)
    ]
    assert not wiring, wiring


def test_only_the_command_line_imports_the_command_line() -> None:
    cli = ("codetune.cli",)
    assert not [name for name, found in OWN.items() if not inside(name, cli) and any(inside(other, cli) for other in found)]


def test_no_import_circles() -> None:
    # `prepare` raises CycleError and names the circle. A package's __init__ and the modules in it count as they are written.
    TopologicalSorter(OWN).prepare()


def test_torch_is_imported_only_where_tensors_are() -> None:
    leaks = [
        f"{name} imports {other}"
        for name, found in IMPORTS.items()
        for other in found
        if other.split(".")[0] in HEAVY and not inside(name, TENSOR_MODULES) and name != "codetune.cli.doctor"
    ]
    assert not leaks, leaks


def test_no_junk_drawers() -> None:
    assert not [path for path in PACKAGE.rglob("*.py") if path.stem in ("utils", "helpers", "common", "misc")]


LIGHT = [
    ["--help"],
    ["--version"],
    ["score", "--help"],
    ["score", "nowhere.jsonl", "--benchmark", "basics-known"],
    ["doctor", "--help"],
    ["chat", "--help"],
    ["study", "report", "--help"],
    ["runs", "list", "nowhere"],
    ["runs", "compare", "nowhere", "elsewhere"],
    ["data", "list"],
    ["data", "stats", "basics-known"],
    ["data", "decontaminate", "nowhere.jsonl"],
    ["data", "prepare", "train-lora.yaml"],
    ["data", "preview", "basics"],
]


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What each light command complains of, and which heavy modules there are after it: all in one process, which forgets none of them."""
    script = (
        "import json, sys\n"
        "from codetune.cli.main import run\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    run(arguments)\n"
        f"    print('LOADED', [name for name in {HEAVY} if name in sys.modules], file=sys.stderr, flush=True)\n"
        "    print('CONFIG', 'codetune.config' in sys.modules, file=sys.stderr)\n"
        "    print('NEXT', file=sys.stderr, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, json.dumps(LIGHT)], capture_output=True, text=True, timeout=120)
    parts = done.stderr.split("NEXT\n")
    assert (done.returncode, parts.pop()) == (0, ""), done.stderr
    return {" ".join(arguments): part for arguments, part in zip(LIGHT, parts, strict=True)}


@pytest.mark.parametrize("command", [" ".join(arguments) for arguments in LIGHT])
def test_light_commands_start_without_torch(said: dict[str, str], command: str) -> None:
    assert "LOADED []" in said[command]
    if command.startswith(("--", "score")):  # which come first: it takes a tenth of a second
        assert "CONFIG False" in said[command]
    assert "Traceback" not in said[command]
