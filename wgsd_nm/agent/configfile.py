# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the user's configuration lies, reading and writing it. What it means is `core.config`'s affair."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wgsd_nm.agent import regularfile
from wgsd_nm.core.config import Config, parse
from wgsd_nm.core.errors import ConfigError, InvalidValue

SYSTEM_FILE = Path("/etc/wgsd-nm/config.toml")
MAX_SIZE = 1 << 20


def user_file() -> Path:
    """$XDG_CONFIG_HOME/wgsd-nm/config.toml (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return base / "wgsd-nm" / "config.toml"


def is_there() -> bool:
    """Whether anything is configured, as the conditions of the agent's unit have it."""
    return user_file().exists() or SYSTEM_FILE.exists()


def load() -> Config:
    """The user's file, else the system's; without any, nothing is configured. Raises ConfigError."""
    for path in (user_file(), SYSTEM_FILE):
        try:
            octets = regularfile.read(path, MAX_SIZE + 1)
        except FileNotFoundError:
            continue
        except InvalidValue as error:
            raise ConfigError(f"{path}: cannot be read: a regular file is expected") from error
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


def write(file: Path, text: str) -> None:
    """Put a text in its place; a link stays one, and a file's mode what it is. A new one is its owner's alone.

    Raises ConfigError.
    """
    try:
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o600
        regularfile.replace(file.resolve(), text.encode(), mode)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
