# SPDX-License-Identifier: GPL-2.0-or-later
"""These need a machine with a disk and systemd as process 1: `python3 -m lab installed` runs them, boot by boot."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from lab.machine import DISK_PARAMETER
from tests.lab.installed import evidence

collect_ignore_glob = [] if DISK_PARAMETER in Path("/proc/cmdline").read_text().split() else ["test_*.py"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure, show what the machine's logs and programs say of it."""
    report = yield
    if report.failed:
        report.sections.append(("the machine", evidence.collect()))
    return report
