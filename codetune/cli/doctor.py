"""`codetune doctor`: hardware, versions, the sandbox's tier with its self-test, local data sets, and what is missing.

    codetune doctor
    codetune doctor --json
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.data.files import DATA_VARIABLE
from codetune.errors import UserError
from codetune.sandbox import Sandbox, selftest

app = typer.Typer(add_completion=False)

PLATFORMS = "Linux is what codetune is for; on macOS and Windows run it through WSL or a container, because the sandbox needs Linux"
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "sacrebleu", "tree-sitter", "tree-sitter-python")


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> int:
    """Show hardware, versions, the sandbox's tier with its self-test, and what is missing. Exit code 1 if the sandbox fails its test."""
    findings = {
        "platform": {"system": platform.platform(), "supported": platform.system() == "Linux", "note": PLATFORMS},
        "hardware": hardware(),
        "versions": versions(),
        "sandbox": sandbox(),
        "data": data_sets(),
        "extras": extras(),
    }
    if as_json:
        print(json.dumps(findings))
    else:
        _show(findings)
    return int(not findings["sandbox"]["passed"])


def hardware() -> dict[str, Any]:
    """Cores that this process may use, memory and GPUs, sizes in bytes; a container's memory limit counts."""
    import torch  # here and not above: `codetune doctor --help` has no need of it

    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": min(psutil.virtual_memory().total, _container_memory_bytes()),
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.total_memory} for gpu in gpus],
    }


def versions() -> dict[str, str]:
    """Versions of Python, codetune and the packages that results depend on."""
    found = {"python": platform.python_version(), "codetune": importlib.metadata.version("codetune")}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}


def sandbox() -> dict[str, Any]:
    """The sandbox's tier and how it withstood attacks of known outcome; `tier` says why where there is none, `better` why it is not T2."""
    try:
        with Sandbox(workers=2) as box:  # while one waits for what sleeps, the other goes on
            tier, better = box.tier, box.fallback
            findings = selftest(box.check)
    except UserError as error:
        return {"tier": f"none: {error}", "better": "", "passed": False, "checks": []}
    checks = [{"name": name, "passed": held, "seen": seen} for name, held, seen in findings]
    return {"tier": tier, "better": better, "passed": all(finding.held for finding in findings), "checks": checks}


def data_sets() -> dict[str, Any]:
    """The folder of local data sets and what lies in it."""
    folder = os.environ.get(DATA_VARIABLE)
    found = sorted(path.name for path in Path(folder).iterdir() if path.is_dir()) if folder and Path(folder).is_dir() else []
    return {"folder": folder, "found": found}


def extras() -> dict[str, dict[str, Any]]:
    """For each optional part of codetune the packages that it lacks here, and the command that installs them."""
    wanted: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("codetune") or []:
        match = re.match(r"([A-Za-z0-9_.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        if match:
            wanted.setdefault(match[2], []).append(match[1])
    return {
        extra: {"missing": [name for name in names if not _installed(name)], "install": f"pip install 'codetune[{extra}]'"}
        for extra, names in wanted.items()
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _container_memory_bytes() -> int:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return int(limit) if limit.isdigit() else 1 << 62


def _show(findings: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2))
    machine = findings["hardware"]
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_bytes'] / 1e9:.0f} GB)" for gpu in machine["gpus"]) or "no GPU"
    supported = "" if findings["platform"]["supported"] else "[red]not supported:[/red] "
    table.add_row("platform", f"{supported}{escape(findings['platform']['system'])}\n[dim]{PLATFORMS}[/dim]")
    table.add_row("hardware", f"{machine['cores']} cores, {machine['memory_bytes'] / 1e9:.1f} GB memory, {gpus}")
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in findings["versions"].items()))
    table.add_row("sandbox", escape(findings["sandbox"]["tier"]))
    if findings["sandbox"]["better"]:
        table.add_row("", f"[dim]{escape(findings['sandbox']['better'])}[/dim]")
    for check in findings["sandbox"]["checks"]:
        row = f"[green]ok[/green]    {check['name']}" if check["passed"] else f"[red]FAILS[/red] {check['name']}: {check['seen']}"
        table.add_row("", row)
    data = findings["data"]
    found = f"{data['folder']}: {', '.join(data['found']) or 'nothing there'}"
    table.add_row("data", escape(found) if data["folder"] else f"{DATA_VARIABLE} is not set")
    for extra, state in findings["extras"].items():
        missing = f"lacks {', '.join(state['missing'])}: {escape(state['install'])}" if state["missing"] else "[green]installed[/green]"
        table.add_row(f"extra {extra}", missing)
    Console(highlight=False, soft_wrap=True).print(table)
