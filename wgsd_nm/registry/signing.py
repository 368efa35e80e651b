# SPDX-License-Identifier: GPL-2.0-or-later
"""TSIG (RFC 8945): whether a message was signed with one of our keys, and signatures on answers. Knows no zones.

dnspython computes the MACs. No secret appears in an error, a log line or a repr.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import cast

import dns.exception
import dns.name
import dns.rdata
import dns.tsig
from dns.rcode import BADKEY, BADSIG, BADTIME, BADTRUNC, NOERROR, Rcode
from dns.rdataclass import ANY
from dns.rdatatype import TSIG
from dns.rdtypes.ANY.TSIG import TSIG as TsigData  # noqa: N811 - dnspython names the class as its type

from wgsd_nm.core.errors import ConfigError
from wgsd_nm.registry.config import KeyConfig
from wgsd_nm.registry.query import Malformed, Query, skip_name

FUDGE = 300
"""Seconds that two clocks may differ (RFC 8945 section 10)."""
MIN_MAC = 10
"""Octets; a MAC cut shorter than this, or than half of the hash, is malformed (RFC 8945 section 5.2.2.1)."""
MIN_SECRET = 16
"""Octets of a secret; what is shorter can be guessed."""

_RECORD = struct.Struct("!HHIH")
_OTHERS_MAY_READ = 0o004

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Signature:
    """A message's TSIG, as its answer's needs it. `error` says why it proves nothing; NOERROR: it is right.

    `time` is when it was signed, in seconds since the epoch. Without a key the answer's TSIG is not a signature.
    """

    name: dns.name.Name
    algorithm: dns.name.Name
    mac: bytes
    time: int
    error: Rcode = NOERROR
    key: dns.tsig.Key | None = field(default=None, repr=False)

    @property
    def length(self) -> int:
        """Octets that the answer's TSIG has."""
        mac = 0 if self.key is None else dns.tsig.mac_sizes[self.algorithm]
        names = len(_wire(self.name)) + len(_wire(self.algorithm))
        return names + _RECORD.size + 16 + mac + (6 if self.error == BADTIME else 0)


class Keyring:
    """The keys that both sides know."""

    def __init__(
        self,
        keys: Mapping[dns.name.Name, dns.tsig.Key] = MappingProxyType({}),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since the epoch."""
        self._keys = dict(keys)
        self._clock = clock

    @classmethod
    def load(cls, configs: Iterable[KeyConfig]) -> Keyring:
        """With the secrets from their files. Raises ConfigError."""
        return cls({config.name: _load(config) for config in configs})

    def verify(self, message: bytes, asked: Query, request: Signature | None = None) -> Signature | None:
        """The TSIG of a message, None if it has none. `request` is that of the message that this one answers.

        Raises Malformed.
        """
        if asked.tsig is None:
            return None
        owner, data = _parse(message, asked.tsig)
        key = self._keys.get(owner)
        found = Signature(owner, data.algorithm, data.mac, data.time_signed)
        if key is None or key.algorithm != data.algorithm:
            return replace(found, error=BADKEY)
        size = dns.tsig.mac_sizes[key.algorithm]
        if not max(MIN_MAC, size // 2) <= len(data.mac) <= size:
            raise Malformed
        additional = int.from_bytes(message[10:12]) - 1
        bare = message[:10] + additional.to_bytes(2) + message[12 : asked.tsig]
        # All that is signed of the TSIG itself is in `data`, so this makes the MAC that it should have.
        made, _ = _sign(bare, key, data, None if request is None else request.mac)
        if not hmac.compare_digest(made.mac[: len(data.mac)], data.mac):
            return replace(found, error=BADSIG)
        if abs(data.time_signed - self._clock()) > data.fudge:
            return replace(found, error=BADTIME, key=key)
        if len(data.mac) < size:
            return replace(found, error=BADTRUNC, key=key)
        return replace(found, key=key)

    def sign(self, message: bytes, request: Signature) -> bytes:
        """An answer with its TSIG, in the form that fits what the request's was (RFC 8945 section 5.3)."""
        signed, _ = self._signed(message, request)
        return signed

    def sign_first(self, message: bytes, name: dns.name.Name) -> tuple[bytes, Signature]:
        """A message of our own, signed with the key of that name, and the signature that its answer refers to."""
        key = self._keys[name]
        bare = Signature(key.name, key.algorithm, b"", 0, key=key)
        made, _ = self._make(message, bare, None)
        return _append(message, bare, made), replace(bare, mac=made.mac)

    def sign_all(self, request: Signature) -> Callable[[bytes], bytes]:
        """Signs the messages of one long answer, to be called with each in turn (RFC 8945 section 5.3.1)."""
        context: object = None

        def sign(message: bytes) -> bytes:
            nonlocal context
            signed, context = self._signed(message, request, context, multi=True)
            return signed

        return sign

    def _signed(
        self, message: bytes, request: Signature, context: object = None, *, multi: bool = False
    ) -> tuple[bytes, object]:
        made, context = self._make(message, request, request.mac, context, multi=multi)
        return _append(message, request, made), context

    def _make(
        self, message: bytes, request: Signature, mac: bytes | None, context: object = None, *, multi: bool = False
    ) -> tuple[TsigData, object]:
        now = int(self._clock())
        other = b""
        if request.error == BADTIME:
            now, other = request.time, now.to_bytes(6)  # RFC 8945 section 5.2.3
        number = int.from_bytes(message[:2])
        data = TsigData(ANY, TSIG, request.algorithm, now, FUDGE, b"", number, request.error, other)  # type: ignore[no-untyped-call]
        return (data, None) if request.key is None else _sign(message, request.key, data, mac, context, multi=multi)


def _sign(
    message: bytes, key: dns.tsig.Key, data: TsigData, mac: bytes | None, context: object = None, *, multi: bool = False
) -> tuple[TsigData, object]:
    """The data with its MAC, and the context for the next message. `mac` is the one that this message answers."""
    made, context = dns.tsig.sign(message, key, data, data.time_signed, mac, context, multi)  # type: ignore[no-untyped-call]
    return made, context


def _parse(message: bytes, at: int) -> tuple[dns.name.Name, TsigData]:
    """Raises Malformed."""
    try:
        owner, _ = dns.name.from_wire(message, at)
        at = skip_name(message, at)
        *_, length = _RECORD.unpack_from(message, at)
        data = dns.rdata.from_wire(ANY, TSIG, message, at + _RECORD.size, length)
    except (dns.exception.DNSException, ValueError):
        raise Malformed from None
    return owner, cast(TsigData, data)


def _append(message: bytes, request: Signature, data: TsigData) -> bytes:
    rdata = data.to_wire()
    assert rdata is not None
    additional = int.from_bytes(message[10:12]) + 1
    record = _wire(request.name) + _RECORD.pack(TSIG, ANY, 0, len(rdata)) + rdata
    return message[:10] + additional.to_bytes(2) + message[12:] + record


def _wire(name: dns.name.Name) -> bytes:
    return name.to_wire() or b""


def _load(config: KeyConfig) -> dns.tsig.Key:
    where = f"the secret file {config.secret_file} of key {config.name.to_text(omit_final_dot=True)}"
    try:
        secret = _decoded(config.secret_file)
        mode = config.secret_file.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(
            f"{where} holds no secret: expected one line of base64, as `openssl rand -base64 32` prints"
        ) from None
    if len(secret) < MIN_SECRET:
        raise ConfigError(f"{where} is too short: expected {MIN_SECRET} octets or more, in base64")
    if mode & _OTHERS_MAY_READ:
        _log.warning("%s can be read by everybody: chmod o= %s", where, config.secret_file)
    return dns.tsig.Key(config.name, secret, config.algorithm)


def _decoded(path: Path) -> bytes:
    """Raises OSError, ValueError."""
    try:
        return base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except (UnicodeDecodeError, binascii.Error):
        raise ValueError from None  # whose text would show what is in the file
