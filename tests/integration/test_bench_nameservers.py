# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's servers: what dnsperf reports, what families of processes spend, and that failures are no figures."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bench import nameservers
from bench.nameservers import NameServer, Outcome, Spent

REPORT = """\
Statistics:

  Queries sent:         5203
  Queries completed:    5200 (99.94%)
  Queries lost:         3 (0.06%)

  Response codes:       NOERROR 5064 (97.38%), SERVFAIL 136 (2.62%)
  Average packet size:  request 103, response 315
  Run time (s):         4.012345
  Queries per second:   1296.000000
"""
BUSY = """
import os, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
if os.fork():
    burn(0.1)
else:
    burn(0.3)
    print(flush=True)
sys.stdin.read()
"""


def test_the_report_of_dnsperf() -> None:
    outcome = nameservers.parse_report(REPORT)
    assert outcome == Outcome(5200, 3, {"NOERROR": 5064, "SERVFAIL": 136}, 4.012345)


def test_another_report_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="Queries lost"):
        nameservers.parse_report(REPORT.replace("Queries lost", "Queries gone"))


def test_time_is_that_of_a_process_and_of_those_that_it_started() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server = NameServer(process.pid, 0)
        assert len(server.processes()) == 2
        spent = server.spent()
        assert process.stdin is not None
        process.stdin.close()
    assert spent.total >= spent.first + 0.25
    assert spent.total == pytest.approx(spent.user + spent.system)
    assert server.processes() == (process.pid,)


def test_running_time_grows_while_a_process_runs() -> None:
    us = NameServer(os.getpid(), 0)
    before, began = us.running_time(), time.process_time()
    while time.process_time() < began + 0.1:
        pass
    assert 0.1 <= us.running_time() - before < 0.2


@pytest.fixture
def spending(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    """A server that has spent 3 s more at every look."""
    looks = iter(Spent(2.0 * number, 1.0 * number, 2.5 * number) for number in range(10))
    monkeypatch.setattr(NameServer, "spent", lambda _: next(looks))
    return NameServer(1, 53)


def test_the_cost_is_that_of_one_query(spending: NameServer) -> None:
    cost = nameservers.cost(spending, lambda: Outcome(1000, 0, {"NOERROR": 1000}, 1))
    assert cost == Spent(0.002, 0.001, 0.0025)


@pytest.mark.parametrize(
    "outcome",
    [Outcome(1000, 0, {"NOERROR": 900, "SERVFAIL": 100}, 1), Outcome(900, 100, {"NOERROR": 900}, 1)],
)
def test_there_is_no_figure_where_too_many_fail(spending: NameServer, outcome: Outcome) -> None:
    with pytest.raises(RuntimeError, match="100 queries"):
        nameservers.cost(spending, lambda: outcome)
