# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for unit tests: an example may take its time, since a busy machine is no defect of ours.

The same tree is given the same examples, so that a change is judged by what it changed. `make search` deals others.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None, derandomize=True)
settings.register_profile("searching", deadline=None, print_blob=True)
settings.load_profile("unhurried")
