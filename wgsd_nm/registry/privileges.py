# SPDX-License-Identifier: GPL-2.0-or-later
"""Giving up privileges for good (capabilities(7), prctl(2)). Knows nothing of what the process does afterwards.

To be called while the process has one thread: capset(2) is about the calling thread alone.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from pathlib import Path

from wgsd_nm.core.errors import InvalidValue, NotPermitted
from wgsd_nm.core.model import shown

CAP_NET_ADMIN = 12  # linux/capability.h
_CAP_SETPCAP = 8
_CAPABILITY_VERSION_3 = 0x20080522

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_LIBC = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def parse_user(name: str) -> pwd.struct_passwd:
    """The account of an unprivileged user. Raises InvalidValue."""
    try:
        account = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise InvalidValue(f"there is no user {shown(name)} here: expected the name of an unprivileged one") from None
    if account.pw_uid == 0:
        raise InvalidValue(f"{shown(name)} is root: expected the name of an unprivileged user")
    return account


def present() -> str:
    """The name of the user that this process runs as, or its number where it has none."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def drop(user: pwd.struct_passwd, *, keep: frozenset[int] = frozenset()) -> None:
    """Become `user` with no capability but `keep`, and no way to gain one again. Raises NotPermitted.

    A process that does not run as root stays the user that it is; it cannot keep what it does not have. One that
    systemd confined already needs no system call for it that the confinement forbids.
    """
    try:
        _drop(user, keep)
    except OSError as error:
        raise NotPermitted(f"cannot become an unprivileged process: {error.strerror}") from error


def _drop(user: pwd.struct_passwd, keep: frozenset[int]) -> None:
    kept = keep & _permitted()
    if _CAP_SETPCAP in _permitted():
        for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
            _prctl(_PR_CAPBSET_DROP, capability)
    if os.geteuid() == 0:
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if not _permitted() == _effective() == kept:
        _set_capabilities(kept)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


def _permitted() -> frozenset[int]:
    low, high = _sets()
    return _capabilities(low.permitted | high.permitted << 32)


def _effective() -> frozenset[int]:
    low, high = _sets()
    return _capabilities(low.effective | high.effective << 32)


def _sets() -> tuple[_Sets, _Sets]:
    """Those of capabilities 0 to 31, and of 32 to 63."""
    sets = (_Sets * 2)()
    _checked(_LIBC.capget(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), ctypes.byref(sets)))
    return sets[0], sets[1]


def _capabilities(mask: int) -> frozenset[int]:
    return frozenset(capability for capability in range(64) if mask >> capability & 1)


def _set_capabilities(capabilities: frozenset[int]) -> None:
    mask = sum(1 << capability for capability in capabilities)
    sets = (_Sets * 2)(*(_Sets(half, half, 0) for half in (mask & 0xFFFFFFFF, mask >> 32)))
    _checked(_LIBC.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), ctypes.byref(sets)))


def _prctl(option: int, argument: int) -> None:
    _checked(_LIBC.prctl(option, *(ctypes.c_ulong(value) for value in (argument, 0, 0, 0))))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
