"""A process with what a container has by default (Docker 27): its system call filter and its capabilities. Runs programs from stdin.

Each line of stdin is a JSON object {program, asserts, fields}; each line of stdout what `Sandbox.check` says of it, the first one
the tier.
"""
# ruff: noqa: E501 - tables

from __future__ import annotations

import ctypes
import errno
import json
import sys

from codetune.records import AssertTest, Problem, to_json
from codetune.sandbox import Sandbox, seccomp

# moby/profiles/seccomp/default.json: what it leaves out (for a container without added capabilities), x86_64 and aarch64.
# fmt: off
REFUSED = {
    "x86_64": (
        163, 248, 321, 305, 227, 174, 176, 313, 177, 239, 175, 173, 172, 312, 246, 320, 250, 212, 237, 165, 279, 180, 304, 298, 155,
        178, 179, 169, 249, 238, 308, 164, 167, 168, 139, 156, 166, 272, 134, 323, 136, 256, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442,
    ),
    "aarch64": (
        89, 217, 280, 266, 112, 106, 273, 236, 105, 272, 104, 294, 219, 18, 235, 40, 239, 42, 265, 241, 41, 60, 142, 218, 237, 268, 170, 224, 225,
        39, 97, 282, 238, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442,
    ),
}
# fmt: on
NEW_NAMESPACES = 0x7E020000  # flags of clone(2)
KEPT_CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)


def enter() -> None:
    """Become such a process, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    machine = seccomp.platform.machine()
    parts = [seccomp._op(seccomp._LD, seccomp._NR)]
    for number in REFUSED[machine]:
        parts += [seccomp._op(seccomp._JEQ, number, 0, 1), seccomp._fail(errno.EPERM)]
    parts += [seccomp._op(seccomp._JEQ, seccomp._CLONE3, 0, 1), seccomp._fail(errno.ENOSYS)]
    parts += [seccomp._op(seccomp._JEQ, seccomp._CLONE[machine], 0, 3), seccomp._op(seccomp._LD, seccomp._ARG0)]
    parts += [seccomp._op(seccomp._JSET, NEW_NAMESPACES, 0, 1), seccomp._fail(errno.EPERM), seccomp._op(seccomp._RET, seccomp._ALLOW)]
    kept = sum(1 << number for number in KEPT_CAPABILITIES)
    for number in range(64):
        if not kept >> number & 1:
            libc.prctl(24, number, 0, 0, 0)  # PR_CAPBSET_DROP
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    header, low = (ctypes.c_uint32 * 2)(0x20080522, 0), kept & 0xFFFFFFFF
    libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0))
    seccomp.enter(b"".join(parts))


def main() -> None:
    enter()
    with Sandbox(workers=1, memory_mb=512) as sandbox:
        print(json.dumps({"tier": sandbox.tier, "fallback": sandbox.fallback}), flush=True)
        for line in sys.stdin:
            given = json.loads(line)
            problem = Problem("test", tests=tuple(map(AssertTest, given["asserts"])), **given["fields"])
            print(json.dumps(to_json(next(sandbox.check([(given["program"], problem)])))), flush=True)


if __name__ == "__main__":
    main()
