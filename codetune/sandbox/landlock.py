"""Landlock by its system calls: which files a process may read or write, and no TCP; the kernel enforces it from then on.

Covers opening, reading, writing, creating, removing, renaming and executing by path, and binding and connecting TCP. It does not
cover `stat`, `chdir`, or changing modes, owners and times (the seccomp filter refuses those changes), nor UDP and other
sockets (the seccomp filter refuses all). Probed by system call, never by sysfs (kernel documentation, userspace-api/landlock).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_LIBC = ctypes.CDLL(None, use_errno=True)

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_MAKE_SPECIAL = 1 << 6 | 1 << 9 | 1 << 11  # character device, socket, block device: never granted
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
READ_ONLY = READ_FILE | READ_DIR
_NET_BIND_TCP, _NET_CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1, 2


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    return max(0, int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def _handled(version: int) -> int:
    """All file-system rights that this version knows; what is handled is denied unless granted."""
    bits = 13 + (version >= 2) + (version >= 3) + (version >= 5)  # + REFER, + TRUNCATE, + IOCTL_DEV
    return (1 << bits) - 1


def build(read_only: Iterable[str], read_write: Iterable[str], files_rw: Iterable[str] = ()) -> int:
    """A ruleset's file descriptor: read below `read_only`, read and write below `read_write`. Raises OSError.

    Made once and entered by many processes; paths that do not exist are left out.
    """
    version = abi()
    handled = _handled(version)
    attr = _RulesetAttr(handled, _NET_BIND_TCP | _NET_CONNECT_TCP, _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = int(_LIBC.syscall(_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0)))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for paths, rights in ((read_only, READ_ONLY), (read_write, handled & ~EXECUTE & ~_MAKE_SPECIAL), (files_rw, READ_FILE | WRITE_FILE)):
        for path in paths:
            _add(ruleset, path, rights & handled)
    return fcntl.fcntl(ruleset, fcntl.F_DUPFD_CLOEXEC, 100)  # out of the way of the low numbers that a child arranges


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
        rule = _PathBeneath(allowed, parent)
        if _LIBC.syscall(_ADD_RULE, ruleset, 1, ctypes.byref(rule), ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
    finally:
        os.close(parent)


def enter(ruleset: int) -> None:
    """Confine this process for good. Needs no_new_privs. Raises OSError."""
    if _LIBC.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
