# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for unit tests: an example may take its time, since a busy machine is no defect of ours."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
