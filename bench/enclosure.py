"""Where a peer that isolates nothing may run hostile programs: namespaces by bubblewrap, and one folder that stands for the host."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from codetune.sandbox.tiers import bubblewrap_version

HERE = Path(__file__).resolve().parent
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache")
_SCRATCH_BYTES = 64 << 20


def enclosed(python: Path, host: Path) -> list[str]:
    """The command that starts `python` with the interpreter, the peers and `bench` to read, `host` to write, and nobody to talk to.

    It has its own processes, network and file systems; all ends with it. Raises UserError where there is no bubblewrap.
    """
    bubblewrap_version()
    command = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--proc", "/proc", "--dev", "/dev", "--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp"]
    for path in dict.fromkeys([*_SYSTEM, sys.base_prefix, str(HERE)]):
        command += ["--ro-bind-try", path, path]
    command += ["--bind", str(host), str(host), "--chdir", str(HERE.parent), "--clearenv", "--setenv", "PATH", "/usr/bin:/bin"]
    return [*command, "--remount-ro", "/", str(python)]
