# SPDX-License-Identifier: GPL-2.0-or-later
"""TSIG: right and wrong signatures, in the forms of RFC 8945, with dnspython's messages as the judge; secret files."""

from __future__ import annotations

import base64
import hmac
import logging
import struct
import time
from pathlib import Path
from unittest.mock import patch

import dns.message
import dns.name
import dns.tsig
import pytest
from dns.rcode import BADKEY, BADSIG, BADTIME, BADTRUNC, NOERROR, NOTAUTH, Rcode
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.core.errors import ConfigError
from wgsd_nm.registry.config import KeyConfig
from wgsd_nm.registry.query import Malformed, build_error, parse
from wgsd_nm.registry.signing import FUDGE, Keyring, Signature

NOW = 1_790_000_000
SECRET = bytes(range(32))
KEY = dns.tsig.Key("a.Key.", SECRET)
LONG = dns.tsig.Key("long.key.", SECRET * 2, "hmac-sha512")
KEYS = {KEY.name: KEY, LONG.name: LONG}
KEYRING = Keyring(KEYS, clock=lambda: NOW)


def signed(key: dns.tsig.Key = KEY, *, at: int = NOW, text: str = "wg.example.com.") -> dns.message.Message:
    asked = dns.message.make_query(text, "SOA")
    asked.use_tsig(key)
    with patch("time.time", return_value=at):
        asked.to_wire()
    return asked


def wire_of(message: dns.message.Message, *, at: int = NOW) -> bytes:
    with patch("time.time", return_value=at):
        return message.to_wire()


def verified(wire: bytes) -> Signature:
    found = KEYRING.verify(wire, parse(wire))
    assert found is not None
    return found


def read(reply: bytes, asked: dns.message.Message, *, at: int = NOW) -> dns.message.Message:
    """The reply, whose signature is right."""
    with patch("time.time", return_value=at):
        message = dns.message.from_wire(reply, keyring=KEYS, request_mac=asked.mac)
    assert message.had_tsig
    return message


def mac_of(asked: dns.message.Message) -> bytes:
    assert asked.mac is not None
    return asked.mac


def cut(asked: dns.message.Message, length: int) -> bytes:
    """The query with its MAC cut to this length."""
    wire, mac = wire_of(asked), mac_of(asked)
    at = wire.index(mac)
    short = wire[: at - 2] + struct.pack("!H", length) + mac[:length] + wire[at + len(mac) :]
    start = parse(wire).tsig
    assert start is not None
    at = wire.index(b"\0\xfa\0\xff", start) + 8
    size = int.from_bytes(wire[at : at + 2]) - len(mac) + length
    return short[:at] + struct.pack("!H", size) + short[at + 2 :]


@pytest.mark.parametrize("key", [KEY, LONG, dns.tsig.Key("A.KEY.", SECRET)])
def test_a_right_signature_is_answered_with_one(key: dns.tsig.Key) -> None:
    asked = signed(key)
    wire = wire_of(asked)
    signature = verified(wire)
    assert (signature.error, signature.name, signature.mac) == (NOERROR, key.name, asked.mac)
    bare = build_error(wire, NOERROR, parse(wire))
    reply = KEYRING.sign(bare, signature)
    assert len(reply) == len(bare) + signature.length
    assert read(reply, asked).id == asked.id


def test_what_is_not_signed_has_no_signature() -> None:
    wire = dns.message.make_query("wg.example.com.", "SOA").to_wire()
    assert KEYRING.verify(wire, parse(wire)) is None


@pytest.mark.parametrize(
    ("key", "at", "error"),
    [
        (dns.tsig.Key("b.key.", SECRET), NOW, BADKEY),
        (dns.tsig.Key("a.key.", SECRET, "hmac-sha512"), NOW, BADKEY),
        (dns.tsig.Key("a.key.", SECRET, "hmac-md5.sig-alg.reg.int"), NOW, BADKEY),
        (dns.tsig.Key("a.key.", bytes(32)), NOW, BADSIG),
        (dns.tsig.Key("a.key.", bytes(32)), NOW - 10 * FUDGE, BADSIG),
        (KEY, NOW - FUDGE - 1, BADTIME),
        (KEY, NOW + FUDGE + 1, BADTIME),
        (KEY, NOW - FUDGE, NOERROR),
        (KEY, NOW + FUDGE, NOERROR),
    ],
)
def test_a_wrong_signature_is_told_why(key: dns.tsig.Key, at: int, error: Rcode) -> None:
    asked = signed(key, at=at)
    wire = wire_of(asked, at=at)
    signature = verified(wire)
    assert signature.error == error
    bare = build_error(wire, NOTAUTH, parse(wire))
    reply = KEYRING.sign(bare, signature)
    assert len(reply) == len(bare) + signature.length
    told = dns.message.from_wire(reply, keyring=False)
    assert told.tsig is not None
    data = told.tsig[0]
    assert (told.tsig.name, data.algorithm, data.error, data.original_id) == (key.name, key.algorithm, error, asked.id)
    if error in (BADKEY, BADSIG):
        assert (data.mac, data.other) == (b"", b"")
    if error == BADTIME:
        assert (data.time_signed, int.from_bytes(data.other), len(data.other)) == (at, NOW, 6)
        with pytest.raises(dns.tsig.PeerBadTime):
            read(reply, asked)
        assert data.mac == expected_mac(reply, key, mac_of(asked))


def expected_mac(reply: bytes, key: dns.tsig.Key, request: bytes) -> bytes:
    """What RFC 8945 section 4.3.3 has digested, done by hand."""
    message = dns.message.from_wire(reply, keyring=False)
    assert message.tsig is not None
    data = message.tsig[0]
    start = parse(reply).tsig
    header = reply[:10] + (int.from_bytes(reply[10:12]) - 1).to_bytes(2) + reply[12:start]
    variables = key.name.to_digestable() + struct.pack("!HI", 255, 0) + key.algorithm.to_digestable()
    variables += (
        data.time_signed.to_bytes(6) + struct.pack("!HHH", data.fudge, data.error, len(data.other)) + data.other
    )
    return hmac.digest(key.secret, struct.pack("!H", len(request)) + request + header + variables, "sha256")


@pytest.mark.parametrize(("length", "error"), [(32, NOERROR), (31, BADTRUNC), (16, BADTRUNC)])
def test_a_mac_that_was_cut_is_right_but_not_accepted(length: int, error: Rcode) -> None:
    asked = signed()
    signature = verified(cut(asked, length))
    assert signature.error == error
    wire = wire_of(asked)
    told = dns.message.from_wire(KEYRING.sign(build_error(wire, NOTAUTH, parse(wire)), signature), keyring=False)
    assert told.tsig is not None
    assert (told.tsig[0].error, len(told.tsig[0].mac)) == (error, 32)
    assert verified(cut(signed(dns.tsig.Key("a.key.", bytes(32))), length)).error == BADSIG


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_mac_that_proves_nothing_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        verified(cut(signed(), length))


def test_a_mac_that_is_too_long_is_malformed() -> None:
    asked = signed()
    wire = cut(asked, 32)
    at = wire.index(mac_of(asked))
    start = parse(wire).tsig or 0
    length = wire.index(b"\0\xfa\0\xff", start) + 8
    longer = wire[: at - 2] + b"\0\x21" + mac_of(asked) + b"x" + wire[at + 32 :]
    longer = longer[:length] + (int.from_bytes(wire[length : length + 2]) + 1).to_bytes(2) + longer[length + 2 :]
    with pytest.raises(Malformed):
        verified(longer)


def test_a_changed_message_is_not_signed() -> None:
    wire = bytearray(wire_of(signed()))
    for at in range(2, parse(bytes(wire)).end):  # the identifier alone may be changed on the way
        changed = bytes(wire[:at]) + bytes([wire[at] ^ 1]) + bytes(wire[at + 1 :])
        try:
            assert verified(changed).error == BADSIG
        except Malformed:
            pass
    assert verified(b"xy" + bytes(wire[2:])).error == NOERROR


def test_a_long_answer_is_signed_message_by_message() -> None:
    asked = signed(LONG)
    wire = wire_of(asked)
    sign = KEYRING.sign_all(verified(wire))
    replies = [sign(build_error(wire, NOERROR, parse(wire))) for _ in range(4)]
    context = None
    with patch("time.time", return_value=NOW):
        for reply in replies:
            message = dns.message.from_wire(
                reply, keyring=KEYS, request_mac=asked.mac, tsig_ctx=context, multi=True, xfr=True
            )
            assert message.had_tsig
            context = message.tsig_ctx
        with pytest.raises(dns.tsig.BadSignature):
            dns.message.from_wire(replies[2], keyring=KEYS, request_mac=asked.mac, multi=True, xfr=True)


def test_our_own_messages_are_signed_and_their_answers_verified() -> None:
    wire = dns.message.make_query("wg.example.com.", "SOA").to_wire()
    ours, request = KEYRING.sign_first(wire, dns.name.from_text("a.key."))
    assert "secret" not in repr(request)
    with patch("time.time", return_value=NOW):
        received = dns.message.from_wire(ours, keyring=KEYS)
        answer = dns.message.make_response(received)
        reply, unasked = answer.to_wire(), wire_of(signed())
    found = KEYRING.verify(reply, parse(reply), request)
    assert found is not None
    assert found.error == NOERROR
    other = KEYRING.verify(unasked, parse(unasked), request)
    assert other is not None
    assert other.error == BADSIG


def test_no_secret_is_shown() -> None:
    shown = repr((verified(wire_of(signed())), KEYRING, Keyring({KEY.name: KEY})))
    for form in (repr(SECRET), base64.b64encode(SECRET).decode(), SECRET.hex()):
        assert form not in shown


@given(st.binary(max_size=60), st.integers(0, 60))
@settings(max_examples=200)
def test_any_tsig_record_is_judged(octets: bytes, at: int) -> None:
    whole = wire_of(signed())
    start = parse(whole).tsig or 0
    at = min(start + at, len(whole))
    for wire in (whole[:at] + octets + whole[at + len(octets) :], whole[:at] + octets):
        try:
            asked = parse(wire)
            found = KEYRING.verify(wire, asked)
        except Malformed:
            continue
        if found is not None:
            dns.message.from_wire(KEYRING.sign(build_error(wire, NOTAUTH, asked), found), keyring=False)


def config(path: Path, algorithm: str = "hmac-sha256") -> KeyConfig:
    return KeyConfig(dns.name.from_text("a.key."), algorithm, path)


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "hmac-sha384", "hmac-sha512"])
def test_secrets_are_read_from_files(tmp_path: Path, algorithm: str, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path / "secret", f"{base64.b64encode(SECRET).decode()}\n")
    with caplog.at_level(logging.DEBUG):
        keyring = Keyring.load([config(file, algorithm)])
    wire = signed(dns.tsig.Key("a.key.", SECRET, algorithm), at=int(time.time())).to_wire()
    found = keyring.verify(wire, parse(wire))
    assert found is not None
    assert found.error == NOERROR
    assert not caplog.records


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_secret_that_everybody_may_read_is_told(
    tmp_path: Path, mode: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path / "secret", base64.b64encode(SECRET).decode(), mode)
    with caplog.at_level(logging.WARNING):
        Keyring.load([config(file)])
    said = f"the secret file {file} of key a.key can be read by everybody: chmod o= {file}"
    assert [record.getMessage() for record in caplog.records] == [said] * warnings


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is too short: expected 16 octets or more, in base64"),
        (base64.b64encode(b"fifteen octets.").decode(), "is too short: expected 16 octets or more, in base64"),
        ("hunter2!", "holds no secret: expected one line of base64, as `openssl rand -base64 32` prints"),
        ("hunter2\u00e9", "holds no secret: expected one line of base64, as `openssl rand -base64 32` prints"),
        (
            f"{'A' * 44}\n{'B' * 44}\n",
            "holds no secret: expected one line of base64, as `openssl rand -base64 32` prints",
        ),
    ],
)
def test_a_file_without_a_secret_is_told_without_its_content(tmp_path: Path, text: str, complaint: str) -> None:
    file = written(tmp_path / "secret", text)
    with pytest.raises(ConfigError) as caught:
        Keyring.load([config(file)])
    assert str(caught.value) == f"the secret file {file} of key a.key {complaint}"
    assert caught.value.__cause__ is None


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Keyring.load([config(tmp_path / "none")])
    assert str(caught.value) == (
        f"the secret file {tmp_path / 'none'} of key a.key cannot be read: No such file or directory"
    )
