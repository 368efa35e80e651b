# SPDX-License-Identifier: GPL-2.0-or-later
"""Readings in, evidence out: when a path counts as alive."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import pytest

from tests.unit.core_story import BOB
from wgsd_nm.core.evidence import Evidence
from wgsd_nm.core.model import Peer

EPOCH = 1_790_000_000


@dataclass
class Readings:
    """A peer that is read every five seconds. Handshakes are given as the second in which they were."""

    now: float = 1000.0
    evidence: Evidence = field(default_factory=Evidence)
    stirred_at: float = -inf

    def read(self, handshake: float = 0, rx: int = 0, tx: int = 0, keepalive: int = 0, asked_before: float = 0) -> None:
        self.now += 5
        shaken = int((EPOCH + handshake) * 1e6) if handshake else 0
        peer = Peer(BOB, None, shaken, rx, tx, keepalive)
        clock = int((EPOCH + self.now) * 1e6)
        self.evidence = self.evidence.observe(peer, self.now - asked_before, self.now, clock, self.stirred_at)


@pytest.fixture
def readings() -> Readings:
    return Readings()


def test_the_first_reading_proves_nothing(readings: Readings) -> None:
    readings.read(handshake=990, rx=5000, tx=5000)
    assert not readings.evidence.alive


def test_a_new_handshake_proves_the_path(readings: Readings) -> None:
    readings.read(handshake=990)
    readings.read(handshake=1008)
    assert readings.evidence.alive_since == 1010
    readings.read(handshake=1008)
    assert readings.evidence.alive_since == 1010, "since then"


def test_handshakes_are_compared_by_value_not_by_age(readings: Readings) -> None:
    readings.read(handshake=5000)
    readings.read(handshake=900)
    assert readings.evidence.alive, "the wall clock was set back meanwhile"


@pytest.mark.parametrize(("handshake", "alive"), [(1000, True), (831, True), (830, False), (0, False)])
def test_octets_count_only_under_a_session(readings: Readings, handshake: float, alive: bool) -> None:
    readings.read(handshake=handshake, rx=1000)
    readings.read(handshake=handshake, rx=1148)
    assert readings.evidence.alive is alive


def test_after_evidence_against_the_path_it_must_prove_itself_again(readings: Readings) -> None:
    readings.read(handshake=1000)
    readings.read(handshake=1008)
    readings.evidence = readings.evidence.against(readings.now)
    readings.read(handshake=1008)
    assert not readings.evidence.alive
    readings.read(handshake=1008, rx=32)
    assert readings.evidence.alive


def test_a_reading_asked_for_before_the_evidence_against_proves_nothing(readings: Readings) -> None:
    readings.read(handshake=1000)
    readings.evidence = readings.evidence.against(readings.now + 4)
    readings.read(handshake=1008, rx=100, asked_before=2)
    assert not readings.evidence.alive
    readings.read(handshake=1008, rx=100)
    assert not readings.evidence.alive, "nothing new came after it"


def test_after_suspend_the_session_is_gone_though_the_handshake_is_young(readings: Readings) -> None:
    readings.read(handshake=1000)
    readings.evidence = readings.evidence.forget_session()
    assert not readings.evidence.has_session(readings.now)
    readings.read(handshake=1000, rx=148)
    assert not readings.evidence.alive, "a received initiation counts as octets too"


def test_a_session_ends_after_180_seconds(readings: Readings) -> None:
    readings.read(handshake=1000)
    assert readings.evidence.has_session(1179)
    assert not readings.evidence.has_session(1181)


def test_a_session_of_the_future_is_no_older_than_now(readings: Readings) -> None:
    readings.read(handshake=9999)
    assert readings.evidence.handshake_at == readings.now


def test_silence_is_measured_from_the_first_octets_sent(readings: Readings) -> None:
    readings.read(handshake=1000)
    assert readings.evidence.silence(readings.now) == 0
    readings.read(handshake=1000, tx=1000)
    assert readings.evidence.silence(readings.now) == 5
    readings.read(handshake=1000, tx=2000)
    assert readings.evidence.silence(readings.now) == 10
    readings.read(handshake=1000, tx=3000, rx=32)
    assert readings.evidence.silence(readings.now) == 0


def test_after_a_long_pause_silence_counts_from_the_check_not_from_the_pause(readings: Readings) -> None:
    readings.read(handshake=1000)
    readings.now += 100
    readings.read(handshake=1000, tx=10000)
    assert readings.evidence.silence(readings.now) == 5


@pytest.mark.parametrize(("sent", "keepalive"), [(147, 0), (148 + 5 * 32 - 1, 1)])
def test_on_a_live_path_an_unanswered_initiation_is_sending_into_silence(
    readings: Readings, sent: int, keepalive: int
) -> None:
    readings.stirred_at = readings.now
    readings.read(handshake=1000, keepalive=keepalive)
    readings.read(handshake=1008, keepalive=keepalive)
    readings.read(handshake=1008, tx=sent, keepalive=keepalive)
    assert readings.evidence.silence(readings.now) == 0, "keepalives"
    readings.read(handshake=1008, tx=sent + sent + 1, keepalive=keepalive)
    readings.read(handshake=1008, tx=sent + sent + 1, keepalive=keepalive)
    assert readings.evidence.silence(readings.now) == 10
    assert readings.evidence.sent_at < 0, "nobody but the kernel has sent anything"
    readings.read(handshake=1023, tx=sent + sent + 1, rx=92, keepalive=keepalive)
    assert readings.evidence.silence(readings.now) == 0


def test_on_a_dead_path_initiations_tell_nothing_new(readings: Readings) -> None:
    readings.read(handshake=1000, keepalive=25)
    readings.read(handshake=1000, tx=148, keepalive=25)
    assert readings.evidence.silence(readings.now) == 0


def test_without_keepalive_an_initiation_tells_that_somebody_sends(readings: Readings) -> None:
    readings.read()
    readings.read(tx=147)
    assert readings.evidence.sent_at < 0
    readings.read(tx=147 + 148)
    assert readings.evidence.sent_at == readings.now
    assert readings.evidence.silence(readings.now) == 5


def test_initiations_that_we_have_caused_tell_nothing_of_others(readings: Readings) -> None:
    readings.read()
    readings.stirred_at = readings.now
    for n in range(1, 21):  # eighteen of them, and two readings in which nobody sends
        readings.read(tx=148 * min(n, 18))
    assert readings.evidence.sent_at < 0
    readings.now += 20
    readings.read(tx=148 * 19)
    readings.read(tx=148 * 20)
    assert readings.evidence.sent_at == readings.now


@pytest.mark.parametrize(
    ("sent", "keepalive", "traffic"),
    [(296 + 96, 0, False), (297 + 96, 0, True), (296 + 96 + 5 * 32, 1, False), (297 + 96 + 5 * 32, 1, True)],
)
def test_what_the_kernel_sends_is_no_traffic(readings: Readings, sent: int, keepalive: int, traffic: bool) -> None:
    readings.stirred_at = readings.now
    readings.read(handshake=1000, keepalive=keepalive)
    readings.read(handshake=1000, tx=sent, keepalive=keepalive)
    assert (readings.evidence.sent_at == readings.now) is traffic


@pytest.mark.parametrize(("rx", "tx"), [(99, 100), (100, 99)])
def test_counters_that_went_back_are_those_of_another_device(readings: Readings, rx: int, tx: int) -> None:
    readings.read(handshake=1000, rx=100, tx=100)
    readings.read(handshake=1008, rx=100, tx=100)
    readings.read(handshake=1012, rx=rx, tx=tx)
    assert not readings.evidence.alive
    assert readings.evidence.against_at == readings.now
    readings.read(handshake=1012, rx=rx + 32, tx=tx)
    assert readings.evidence.alive
