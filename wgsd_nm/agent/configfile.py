# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the user's configuration lies, and reading it. What it means is `core.config`'s affair."""

from __future__ import annotations

import os
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
