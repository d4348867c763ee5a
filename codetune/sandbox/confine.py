"""Takes a freshly forked process out of reach of everything: privileges, resource limits, Landlock, seccomp, in this order.

`Confinement` is built once in the zygote (it probes the kernel and prepares what can be shared) and entered once by every child.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import sysconfig
from typing import NamedTuple

from codetune.sandbox import landlock, seccomp

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_SIGKILL = 9
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_NO_CAPABILITIES = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # capset(2): header, and none in any set
_LIMITED = (
    resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC,
)  # fmt: skip
_FIRST_UID = 64000  # a uid per worker where root can step down: no account of a distribution lies here


class Limits(NamedTuple):
    """What a program may use. `file_bytes` is for each file, and for stdout and stderr each."""

    memory_mb: int
    cpu_s: float  # processor time of the candidate
    wall_s: float  # wall clock until the candidate is killed in any case
    file_bytes: int
    open_files: int = 64
    threads: int = 64


def interpreter_paths() -> list[str]:
    """What an import of the standard library reads: the library's folder and the shared libraries, no site-packages' home."""
    paths = sysconfig.get_paths()
    # The base interpreter's library even in a virtual environment, and a shared libpython beside it.
    return [paths["stdlib"], paths["platstdlib"], sysconfig.get_config_var("LIBDIR") or "/usr/lib", *_LIBRARIES]


def _stdlib_readable(uid: int) -> bool:
    """Whether the interpreter's library can be read as `uid` (not where it lies in root's home). Asked in a child."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with open(os.__file__, "rb"):
                os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


class Confinement:
    """The measures that this machine offers. `tier` names them for the results; `around` is what encloses the zygote already."""

    def __init__(self, scratch: str, worker: int, around: str = "") -> None:
        self.scratch, self.around = scratch, around
        self.uid = 0
        if os.geteuid() == 0 and _stdlib_readable(_FIRST_UID + worker):
            self.uid = _FIRST_UID + worker
            os.chown(scratch, self.uid, self.uid)
        self._give_up_for_all_children()
        self.landlock_abi = landlock.abi()
        self.seccomp = seccomp.supported()
        if self.seccomp:
            seccomp.program(0)  # built once, for the forks to find
        paths = interpreter_paths()
        self.open_ruleset = landlock.build(paths, [scratch], _DEVICES) if self.landlock_abi else -1
        self.closed_ruleset = landlock.build(paths, [], _DEVICES) if self.landlock_abi else -1

    @property
    def tier(self) -> str:
        """`T2: ...` in namespaces of its own, `T1: ...` with Landlock and seccomp, else `T0: ...` with what is left."""
        layers = ([self.around] if self.around else []) + ([f"landlock {self.landlock_abi}"] if self.landlock_abi else [])
        layers += (["seccomp"] if self.seccomp else []) + ["rlimits"] + (["own uid"] if self.uid else [])
        number = 0 if not self.seccomp else 2 if self.around else 1 if self.landlock_abi else 0
        return f"T{number}: {' + '.join(layers)}"

    def _give_up_for_all_children(self) -> None:
        """What children inherit need not be done in each: groups, bounding set, no_new_privs, limits of 0, and where they keep the
        zygote's uid all capabilities."""
        for capability in range(64):
            _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs")
        for kind in (resource.RLIMIT_CORE, resource.RLIMIT_MSGQUEUE, resource.RLIMIT_MEMLOCK):
            resource.setrlimit(kind, (0, 0))
        self.hard = {kind: resource.getrlimit(kind)[1] for kind in _LIMITED}
        if os.geteuid() == 0:
            os.setgroups([])
            if not self.uid:
                _drop_capabilities()

    def enter(self, limits: Limits, writable: bool) -> None:
        """Confine the calling process for good; only with `writable` may it write to the scratch folder. Raises OSError."""
        os.setsid()
        if self.uid:
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)
            _drop_capabilities()
        _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)  # after a change of uid, which resets it
        self._set_rlimits(limits)
        _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # /proc/<pid>/mem of a sibling with the same uid stays shut
        if self.landlock_abi:
            landlock.enter(self.open_ruleset if writable else self.closed_ruleset)
        if self.seccomp:
            seccomp.enter(seccomp.program(os.getpid()))

    def _set_rlimits(self, limits: Limits) -> None:
        memory = limits.memory_mb << 20
        wanted = {
            resource.RLIMIT_AS: memory,
            resource.RLIMIT_DATA: memory,
            resource.RLIMIT_CPU: math.ceil(limits.cpu_s) + 2,  # a second line: the zygote's clock is finer
            resource.RLIMIT_FSIZE: limits.file_bytes,
            resource.RLIMIT_NOFILE: limits.open_files,
        }
        if self.uid:  # counted per uid: on a shared uid it would count strangers, so there the zygote counts threads itself
            wanted[resource.RLIMIT_NPROC] = limits.threads
        for kind, value in wanted.items():
            hard = self.hard[kind]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))


def _drop_capabilities() -> None:
    if _LIBC.capset(*_NO_CAPABILITIES):
        raise OSError(ctypes.get_errno(), "capset")


def preload() -> None:
    """Import what generated programs use most, once, so that forks find it in memory."""
    for name in _COMMON_MODULES:
        try:
            __import__(name)
        except ImportError:  # an interpreter built without a part of its library
            continue


# fmt: off
_COMMON_MODULES = (
    "abc", "array", "bisect", "calendar", "cmath", "collections.abc", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "hashlib", "heapq", "io", "itertools", "json", "math", "numbers", "operator", "queue", "random", "re", "statistics",
    "string", "textwrap", "threading", "time", "traceback", "types", "typing", "unicodedata", "zoneinfo",
)
# fmt: on
