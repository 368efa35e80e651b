# SPDX-License-Identifier: GPL-2.0-or-later
"""Root's list of interfaces in helper.toml. It knows nothing of NetworkManager, of callers or of what is done there.

    # /etc/wgsd-nm/helper.toml
    interfaces = ["wg1"]

The file is for WireGuard devices that NetworkManager did not make (wg-quick, systemd-networkd). No file, no interfaces.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Final

from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.model import parse_interface

PATH: Final = Path("/etc/wgsd-nm/helper.toml")

_INTERFACES: Final = "interfaces"


def load(path: Path = PATH) -> frozenset[str]:
    """The interfaces that the file names. Raises ConfigError where it is not root's alone, unreadable or wrong."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us up
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        require_trusted(path, os.fstat(descriptor))
        try:
            text = file.read().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: expected a text file in UTF-8") from error
    return parse(text, path)


def require_trusted(path: Path, status: os.stat_result) -> None:
    """Raises ConfigError unless the file is a regular one, owned by root, that nobody else can write."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is ignored: expected a regular file")
    if status.st_uid != 0:
        raise ConfigError(f"{path} is ignored: expected root as its owner, not user {status.st_uid} (chown root)")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path} is ignored: expected that only root can write it (chmod go-w)")


def parse(text: str, path: Path = PATH) -> frozenset[str]:
    """From TOML. Raises ConfigError that names file and key."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    interfaces = document.pop(_INTERFACES, [])
    for key in document:
        raise ConfigError(f"{path}: {key!a} is not a key of this file: expected only {_INTERFACES}")
    if not isinstance(interfaces, list) or not all(isinstance(name, str) for name in interfaces):
        raise ConfigError(f'{path}: {_INTERFACES}: expected a list of interface names, like ["wg1"]')
    try:
        return frozenset(parse_interface(name) for name in interfaces)
    except InvalidValue as error:
        raise ConfigError(f"{path}: {_INTERFACES}: {error}") from error
