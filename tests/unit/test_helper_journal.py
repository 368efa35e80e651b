# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever callers do, the journal gets so many lines an hour, and says when it got fewer than there were."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from wgsd_nm.helper.journal import NOTES_AN_HOUR, REMEMBERED, REPEATED_AFTER, WARNINGS_AN_HOUR, Ration

LEFT_OUT = "(before this, 5 lines were too many and left out)"


class Journal(logging.Handler):
    """A logger, its lines, and the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.lines: list[str] = []
        self.addFilter(Ration(lambda: self.now))
        self.log = logging.Logger("helper", logging.INFO)
        self.log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines() -> Journal:
    return Journal()


def test_a_warning_is_not_repeated_for_a_while(lines: Journal) -> None:
    for _ in range(3):
        lines.log.warning("refused %s to %s", "get_peers", ":1.1")
        lines.log.warning("refused %s to %s", "get_peers", ":1.2")
    assert lines.lines == ["refused get_peers to :1.1", "refused get_peers to :1.2"]
    lines.now += REPEATED_AFTER
    lines.log.error("refused get_peers to :1.1")
    assert len(lines.lines) == 3


def test_what_was_done_is_told_each_time(lines: Journal) -> None:
    for _ in range(3):
        lines.log.info("wg0 for :1.1: 1 changed")
    assert len(lines.lines) == 3


@pytest.mark.parametrize(("level", "most"), [(logging.WARNING, WARNINGS_AN_HOUR), (logging.INFO, NOTES_AN_HOUR)])
def test_so_many_lines_an_hour_and_the_rest_is_counted(lines: Journal, level: int, most: int) -> None:
    for number in range(most + 5):
        lines.log.log(level, "line %d", number)
    assert lines.lines == [f"line {number}" for number in range(most)]
    lines.now += 3600 / most
    lines.log.log(level, "%s", "50% more")
    assert lines.lines[-1] == f"50% more {LEFT_OUT}"
    lines.now += 3600
    lines.log.log(level, "and on")
    assert lines.lines[-1] == "and on"


def test_a_day_of_refusals_brings_the_hours_share_and_no_more(lines: Journal) -> None:
    for second in range(24 * 3600):
        lines.now = float(second)
        lines.log.warning("refused get_peers to :1.%d", second)
    assert 24 * WARNINGS_AN_HOUR <= len(lines.lines) <= 25 * WARNINGS_AN_HOUR


def test_warnings_and_what_was_done_do_not_take_each_others_place(lines: Journal) -> None:
    for number in range(WARNINGS_AN_HOUR + 1):
        lines.log.warning("no %d", number)
    lines.log.info("wg0 for :1.1: 1 changed")
    assert lines.lines[-1] == "wg0 for :1.1: 1 changed"


def test_the_end_is_always_told(lines: Journal) -> None:
    for number in range(WARNINGS_AN_HOUR + 1):
        lines.log.warning("no %d", number)
    for _ in range(2):
        lines.log.critical("the connection to the system bus is lost")
    assert lines.lines[-2:] == ["the connection to the system bus is lost"] * 2


def test_the_memory_of_what_was_said_is_bounded(lines: Journal) -> None:
    lines.log.warning("first")
    for number in range(REMEMBERED):
        lines.log.warning("no %d", number)
    lines.log.warning("first")
    assert lines.lines.count("first") == 2


PROGRAM = f"""\
import logging
from wgsd_nm.helper import journal
journal.begin()
for number in range({WARNINGS_AN_HOUR} + 1):
    logging.getLogger("wgsd_nm.bus").warning("no %d", number)
logging.info("done")
logging.debug("not told")
"""


def test_the_ration_holds_for_every_line_of_the_process() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stderr
    assert said.splitlines() == [f"WARNING: no {number}" for number in range(WARNINGS_AN_HOUR)] + ["INFO: done"]
