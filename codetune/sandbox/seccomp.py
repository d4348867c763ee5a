"""A seccomp filter by prctl: system calls that a generated program has no business with fail with EPERM.

A deny list: no new process, no program start, no socket of any family, no signal to anybody else, no look into other processes,
no mount, namespace, module, key or clock, no change of modes, owners or times of files, no System V memory that would stay
behind. Calls newer than the table fail with ENOSYS. Threads are allowed. Architectures: x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import platform
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF: load word, jumps on constant, return
_NR, _ARCH, _ARG0 = 0, 4, 16  # offsets in struct seccomp_data (low halves, little-endian)
_CLONE_THREAD = 0x10000
_NEWEST = 472  # calls with higher numbers did not exist when this was written
_X32 = 0x40000000
_PID = 0x7B1D7B1D  # stands for the pid in the template; no such pid exists

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Same numbers on both architectures (all calls since Linux 5.1): pidfds, io_uring, the mount API, memory of others, extended attributes.
_DENY_COMMON = (
    424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442, 443, 447, 448, 452, 457, 458, 463, 466, 467, 469, 470,
)  # fmt: skip

# `truncate` (76, 45) is with the modes because Landlock knows it since Linux 6.2 only.
# fmt: off
_DENY: dict[str, dict[str, tuple[int, ...]]] = {
    "x86_64": {
        "process": (57, 58, 59, 322),                                   # fork vfork execve execveat
        "socket": (41, 42, 43, 49, 50, 288),                            # socket connect accept bind listen accept4
        "look into others": (101, 310, 311, 312, 279, 256, 298),        # ptrace process_vm_* kcmp move/migrate_pages perf_event_open
        "signals": (200, 129, 297),                                     # tkill rt_sigqueueinfo rt_tgsigqueueinfo
        "scheduling of others": (141, 142, 144, 203, 251, 314),         # setpriority sched_set* ioprio_set sched_setattr
        "mounts": (155, 161, 165, 166, 167, 168),                       # pivot_root chroot mount umount2 swapon swapoff
        "namespaces, kernel": (272, 308, 321, 323, 135, 154, 163, 172, 173, 169, 174, 175, 176, 246, 313, 320, 103, 134, 139, 212, 153),
        "keys": (248, 249, 250),
        "clock, names": (159, 164, 227, 305, 170, 171, 179, 300),
        "file handles": (303, 304),
        "modes, owners, times": (76, 90, 91, 268, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199),
        "left behind": (29, 30, 31, 64, 65, 66, 68, 69, 71, 240, 241),  # System V and POSIX message queues
    },
    "aarch64": {
        "process": (221, 281),
        "socket": (198, 203, 202, 200, 201, 242),
        "look into others": (117, 270, 271, 272, 239, 238, 241),
        "signals": (130, 138, 240),
        "scheduling of others": (140, 118, 119, 122, 30, 274),
        "mounts": (41, 51, 40, 39, 224, 225),
        "namespaces, kernel": (97, 268, 280, 282, 92, 89, 142, 105, 106, 104, 273, 294, 116, 18, 58),
        "keys": (217, 218, 219),
        "clock, names": (171, 170, 112, 266, 161, 162, 60, 262),
        "file handles": (264, 265),
        "modes, owners, times": (45, 52, 53, 54, 55, 88, 5, 6, 7, 14, 15, 16),
        "left behind": (180, 181, 186, 187, 188, 189, 190, 191, 193, 194, 196),
    },
}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_SELF_ONLY = {"x86_64": (62, 234), "aarch64": (129, 131)}               # kill tgkill: to the own process
_SELF_OR_ZERO = {"x86_64": (302,), "aarch64": (261,)}                   # prlimit64
# fmt: on


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _op(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, jump_true, jump_false, k)


def _fail(error: int) -> bytes:
    return _op(_RET, _ERRNO | error)


def supported() -> bool:
    """Whether there is a table for this machine and the kernel takes filters."""
    # EFAULT (a null filter) says that the kernel knows filters; EINVAL that it does not.
    _LIBC.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT and platform.machine() in _AUDIT_ARCH and struct.calcsize("P") == 8


@functools.cache
def _template() -> list[bytes]:
    """The filter's parts, cut where the process's own pid belongs."""
    machine = platform.machine()
    parts = [_op(_LD, _ARCH), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _op(_RET, _KILL), _op(_LD, _NR)]
    parts += [_op(_JGE, _X32, 0, 1), _fail(errno.EPERM), _op(_JGE, _NEWEST, 0, 1), _fail(errno.ENOSYS)]
    for number in sorted({*_DENY_COMMON, *(n for group in _DENY[machine].values() for n in group)}):
        parts += [_op(_JEQ, number, 0, 1), _fail(errno.EPERM)]
    parts += [_op(_JEQ, _CLONE3, 0, 1), _fail(errno.ENOSYS)]  # its flags are behind a pointer; libc falls back to clone
    parts += [_op(_JEQ, _CLONE[machine], 0, 4), _op(_LD, _ARG0), _op(_JSET, _CLONE_THREAD, 0, 1), _op(_RET, _ALLOW), _fail(errno.EPERM)]
    for number in _SELF_ONLY[machine]:
        parts += [_op(_JEQ, number, 0, 4), _op(_LD, _ARG0), _op(_JEQ, _PID, 0, 1), _op(_RET, _ALLOW), _fail(errno.EPERM)]
    for number in _SELF_OR_ZERO[machine]:
        parts += [_op(_JEQ, number, 0, 5), _op(_LD, _ARG0), _op(_JEQ, _PID, 1, 0), _op(_JEQ, 0, 0, 1)]
        parts += [_op(_RET, _ALLOW), _fail(errno.EPERM)]
    return b"".join([*parts, _op(_RET, _ALLOW)]).split(struct.pack("<I", _PID))


def program(pid: int) -> bytes:
    """The filter for process `pid` as BPF instructions."""
    return struct.pack("<I", pid).join(_template())


def enter(instructions: bytes) -> None:
    """Put the filter on this process for good. Needs no_new_privs. Raises OSError."""
    header = _Program(len(instructions) // 8, instructions)
    if _LIBC.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(header), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")
