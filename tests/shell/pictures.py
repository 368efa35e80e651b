# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the pictures of the tests are kept, for people to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "build" / "screenshots"
