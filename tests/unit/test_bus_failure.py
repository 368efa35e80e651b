# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors as a caller hears them, and as a caller of ours is told them."""

from __future__ import annotations

import logging

import pytest

from wgsd_nm.bus import names
from wgsd_nm.bus.failure import heard, told
from wgsd_nm.bus.marshal import Malformed, marshal
from wgsd_nm.bus.message import Kind, Message
from wgsd_nm.core.errors import (
    AccessDenied,
    BusError,
    BusLost,
    CallFailed,
    CallTimedOut,
    InteractionRequired,
    InvalidArguments,
    InvalidValue,
    NoSuchDevice,
    ServiceUnavailable,
)


def reply(name: str, *body: str, sender: str = ":1.1", signature: str = "s") -> Message:
    return Message(
        kind=Kind.ERROR,
        flags=0,
        serial=2,
        path="",
        interface="",
        member="",
        error_name=name,
        reply_serial=1,
        sender=sender,
        signature=signature if body else "",
        little=True,
        octets=marshal(signature, body) if body else b"",
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (names.ERROR_NO_REPLY, CallTimedOut),
        (names.ERROR_TIMEOUT, CallTimedOut),
        (names.ERROR_TIMED_OUT, CallTimedOut),
        (names.ERROR_SERVICE_UNKNOWN, ServiceUnavailable),
        (names.ERROR_NAME_HAS_NO_OWNER, ServiceUnavailable),
        (names.ERROR_ACCESS_DENIED, AccessDenied),
        (names.ERROR_INTERACTION_REQUIRED, InteractionRequired),
        (names.ERROR_INVALID_ARGS, InvalidArguments),
        (names.ERROR_UNKNOWN_METHOD, CallFailed),
        ("org.freedesktop.systemd1.NoSuchUnit", CallFailed),
    ],
)
def test_error_names(name: str, expected: type[BusError]) -> None:
    error = heard(reply(name, "it went wrong"))
    assert type(error) is expected
    assert str(error) == "it went wrong"


@pytest.mark.parametrize(
    "name",
    ["org.freedesktop.DBus.Error.Spawn.ChildExited", "org.freedesktop.systemd1.NoSuchUnit"],
)
def test_what_the_bus_says_of_a_service_that_does_not_start(name: str) -> None:
    assert type(heard(reply(name, "no", sender=names.DBUS))) is ServiceUnavailable


@pytest.mark.parametrize("error", [reply("a.B.Bad"), reply("a.B.Bad", ""), reply("a.B.Bad", "/x", signature="o")])
def test_an_error_without_text(error: Message) -> None:
    """dbus-next takes body[0] without looking."""
    found = heard(error)
    assert isinstance(found, CallFailed)
    assert (found.name, str(found)) == ("a.B.Bad", "a.B.Bad")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (InvalidValue("no"), names.ERROR_INVALID_ARGS),
        (NoSuchDevice("no"), names.error_name(NoSuchDevice("no"))),
        (BusLost("no"), names.ERROR_FAILED),
        (CallFailed("a.B.Bad", "no"), "a.B.Bad"),
        (Malformed("no"), names.ERROR_INVALID_ARGS),
    ],
)
def test_our_errors_are_told(error: Exception, name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert told(error, "Do") == (name, "no")
    assert not caplog.records


def test_other_errors_are_logged_once_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert told(KeyError("secret"), "Do") == (names.ERROR_FAILED, "internal error")
    (record,) = caplog.records
    assert record.getMessage() == "Do failed"
    assert "secret" in caplog.text


def test_a_text_that_d_bus_cannot_carry_is_made_fit() -> None:
    assert told(InvalidValue("a\0b\ud800"), "Do")[1] == "ab?"
