# SPDX-License-Identifier: GPL-2.0-or-later
"""SECURITY.md is true to the code as far as a test can tell: what it names is there, and its numbers are the code's."""

from __future__ import annotations

import re

import pytest

from tests.contract.texts import ROOT
from wgsd_nm.agent import pushsession, resolver
from wgsd_nm.core import dnssd, push, pushed, reconnect, schedule
from wgsd_nm.helper import admission, authorization, journal, service
from wgsd_nm.registry import access, content, query, sessions, streams, subscriptions

PAGE = (ROOT / "SECURITY.md").read_text()
TEXT = " ".join(PAGE.split())
MECHANISM = re.compile(r"`((?:wgsd_nm|data|tests)/[^`]+)`(?:: ((?:`[^`]+`(?:, )?)+))?")

NUMBERS = {
    "After 15 seconds without proof": schedule.TRIAL == 15,
    "in 5 seconds for each wanted peer": schedule.INITIATION_SLOT == 5,
    "4 of a peer and 8 aliases at the most": (resolver.MAX_TARGETS, dnssd.MAX_ALIASES) == (4, 8),
    "hold a lookup for more than 15 seconds": resolver.LOOKUP_TIMEOUT == 15,
    "than after 5 seconds by a TTL": schedule.TTL_LEAST == 5,
    "63 letters are kept": dnssd.MAX_DISPLAY_NAME == 63,
    "up to a megabyte of the agent's memory for each peer": 0.9e6 < pushed.MAX_RECORDS * push.MAX_PUSH < 1.1e6,
    "for 16 KiB each 20 ms": (pushsession.READING, pushsession.BREATH) == (16 << 10, 0.02),
    "left alone for an hour": reconnect.NO_PUSH == 3600,
    "32 calls of a user": admission.MAX_CALLS_OF_A_USER == 32,
    "longer than a second": authorization.FRESH == 1,
    "100 warnings an hour are written, and each once in ten minutes": (journal.WARNINGS_AN_HOUR, journal.REPEATED_AFTER)
    == (100, 600),
    "10,000 peers in one": service.MAX_CHANGES == 10_000,
    "four times a second at the most": content.MAX_AGE == 0.25,
    "16 connections": streams.MAX_OF_CLIENT == 16,
    "8 sessions and a megabyte unsent": (sessions.MAX_OF_CLIENT, sessions.MAX_UNSENT) == (8, 1 << 20),
    "2048 subscriptions": subscriptions.MAX_OF_CLIENT == 2048,
    "ten times at once, and then five times a second": (access.STRANGER_BURST, access.STRANGER_INTERVAL) == (10, 0.2),
    "200 times a second for all": access.OVERALL_INTERVAL == 0.005,
    "32 connections": streams.MAX_STRANGERS == 32,
    "all 256 places": streams.MAX_CONNECTIONS == 256,
    "up to 1232 octets": query.MAX_DATAGRAM == 1232,
}


def test_every_mechanism_is_where_the_page_says() -> None:
    found = MECHANISM.findall(PAGE)
    assert len(found) > 50
    for path, named in found:
        assert (ROOT / path).is_file(), path
        code = (ROOT / path).read_text()
        for name in re.findall(r"`([^`]+)`", named):
            assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code), f"{path} has no {name}"


@pytest.mark.parametrize("said", NUMBERS)
def test_every_number_is_the_codes(said: str) -> None:
    assert said in TEXT
    assert NUMBERS[said]


@pytest.mark.parametrize("who", ["malicious registry", "DNS spoofer", "local user", "peer", "stranger"])
def test_of_each_attacker_it_says_what_he_can_and_what_he_cannot(who: str) -> None:
    (part,) = re.findall(rf"\n## An? {who}\n(.*?)(?=\n## |\Z)", PAGE, re.DOTALL)
    assert re.search(r"\bcan\b", part)
    assert re.search(r"\bcannot\b", part)
