# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the user's configuration lies, and reading it. What it means is `core.config`'s affair."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wgsd_nm.core.config import Config, parse
from wgsd_nm.core.errors import ConfigError

SYSTEM_FILE = Path("/etc/wgsd-nm/config.toml")
MAX_SIZE = 1 << 20


def user_file() -> Path:
    """$XDG_CONFIG_HOME/wgsd-nm/config.toml (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return base / "wgsd-nm" / "config.toml"


def load() -> Config:
    """The user's file, else the system's; without any, nothing is configured. Raises ConfigError."""
    for path in (user_file(), SYSTEM_FILE):
        try:
            octets = _read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        if len(octets) > MAX_SIZE:
            raise ConfigError(f"{path}: at most {MAX_SIZE} octets are expected")
        try:
            text = octets.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 at octet {error.start}") from error
        return parse(text, str(path))
    return Config()


def _read(path: Path) -> bytes:
    """At most one octet more than MAX_SIZE. Raises OSError; ConfigError for what is no file: a FIFO would hold us."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError(f"{path}: cannot be read: a regular file is expected")
        return file.read(MAX_SIZE + 1)
