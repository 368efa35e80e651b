# SPDX-License-Identifier: GPL-2.0-or-later
"""Every code has its sentence, every failed lookup its code."""

from __future__ import annotations

import pytest

from wgsd_nm.core import errors
from wgsd_nm.core.model import Endpoint
from wgsd_nm.core.reason import Reason, of_failure, sentence

ENDPOINT = Endpoint.parse("192.0.2.1:51820")


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("endpoint", [ENDPOINT, None])
def test_each_reason_is_one_sentence(reason: Reason, endpoint: Endpoint | None) -> None:
    text = sentence(reason, endpoint)
    assert text.endswith(".")
    assert text[0].isupper() or text[0].isdigit() or text.startswith("no endpoint")
    assert "{" not in text


def test_a_sentence_names_its_endpoint() -> None:
    assert sentence(Reason.MOVED, ENDPOINT) == "The registry reports that the peer has moved to 192.0.2.1:51820."


@pytest.mark.parametrize("reason", Reason)
def test_codes_are_words_for_the_bus(reason: Reason) -> None:
    assert reason.replace("-", "").isalpha()
    assert reason.islower()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.NoSuchPeer("x"), Reason.NOT_REGISTERED),
        (errors.NoEndpoint("x"), Reason.NO_ENDPOINT),
        (errors.NoAnswer("x"), Reason.NO_ANSWER),
        (errors.RegistryUnreachable("x"), Reason.REGISTRY_UNREACHABLE),
        (errors.RegistryRefused("x"), Reason.REGISTRY_REFUSED),
        (errors.BadAnswer("x"), Reason.BAD_ANSWER),
    ],
)
def test_each_failed_lookup_has_its_code(error: errors.LookupFailed, reason: Reason) -> None:
    assert of_failure(error) is reason
