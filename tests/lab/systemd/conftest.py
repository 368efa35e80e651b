# SPDX-License-Identifier: GPL-2.0-or-later
"""These need systemd as process 1: `python3 -m lab run --systemd -- python3 -m pytest tests/lab/systemd`."""

from __future__ import annotations

from pathlib import Path

collect_ignore_glob = [] if Path("/run/systemd/system").is_dir() else ["test_*.py"]
