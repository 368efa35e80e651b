# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Knot DNS as secondary, configured as data/examples/knot.conf shows it: transfers, notifications, keys."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone
import pytest

from tests.integration.running_registry import DEADLINE, PORT, ROOT, ZONE, Registry, until
from wgsd_nm.core.dnssd import SERVICE, instance_name
from wgsd_nm.core.model import PublicKey

EXAMPLE = ROOT / "data" / "examples" / "knot.conf"
ALICE = PublicKey(b"a" * 32)
BOB = PublicKey(b"b" * 32)
KEY = "knot.example.com"
GOAL = 2.0
"""Seconds within which a secondary has to serve a peer's new endpoint."""


class Knot:
    """knotd at a loopback address of its own."""

    def __init__(self, directory: Path, registry: str, secret: str) -> None:
        octets = secrets.token_bytes(3)
        self.address = f"127.{octets[0]}.{octets[1]}.{octets[2] | 1}"
        self.log = directory / "knot.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = directory / "knot"
        self._directory.mkdir()
        self._file = directory / "knot.conf"
        text = EXAMPLE.read_text()
        for example, here in {
            "10.0.0.2@53": f"{self.address}@{PORT}",
            "via: 10.0.0.2 ": f"via: {self.address} ",
            "10.0.0.254@53": f"{registry}@{PORT}",
            '"/run/knot"': f'"{self._directory}"',
            '"/var/lib/knot"': f'"{self._directory}"',
            "THE SECRET": secret,
        }.items():
            assert example in text, example
            text = text.replace(example, here)
        self._file.write_text(text)

    def start(self) -> None:
        program = shutil.which("knotd", path=f"{os.defpath}:/usr/sbin")
        assert program is not None, "knotd is missing: apt-get install knot"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen((program, "-c", str(self._file)), stderr=log, stdout=log)
        until(lambda: self.logged("server started"), "knotd")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE)
            self._process = None

    def logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def ask(self, name: object, rdtype: str) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(str(name), rdtype), self.address, port=PORT, timeout=5)

    def port_of(self, key: PublicKey) -> int:
        """The port of a peer's endpoint, 0 where none is known."""
        answer = self.ask(instance_name(key, ZONE), "SRV").answer
        return int(answer[0][0].port) if answer else 0


def secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def configured(registry: Registry, knot: Knot, shared: str) -> tuple[str, ...]:
    """The registry's flags, for a configuration in which Knot is a secondary and has this secret."""
    file = registry.directory / "knot.key"
    file.write_text(f"{shared}\n")
    file.chmod(0o600)
    return registry.configure(
        f"""
        [zone."wg.example.com"]
        device = "wg0"
        [[zone."wg.example.com".secondary]]
        address = "{knot.address}:{PORT}"
        key = "{KEY}"
        [key."{KEY}"]
        secret-file = "{file}"
        """
    )


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shared() -> str:
    return secret()


@pytest.fixture
def knot(tmp_path: Path, registry: Registry, shared: str) -> Iterator[Knot]:
    made = Knot(tmp_path, registry.address, shared)
    yield made
    made.stop()


def content(zone: dns.zone.Zone) -> set[str]:
    return {f"{name} {ttl} {rdata.to_text()}" for name, ttl, rdata in zone.iterate_rdatas()}


def transferred(registry: Registry, source: str, key: dns.tsig.Key | None) -> dns.zone.Zone:
    zone = dns.zone.Zone(ZONE)
    query, _ = dns.xfr.make_query(zone, keyring=key, keyname=None if key is None else key.name)
    dns.query.inbound_xfr(registry.address, zone, query, port=PORT, timeout=5, lifetime=DEADLINE, source=source)
    return zone


def test_the_secondary_answers_as_the_registry_does(registry: Registry, knot: Knot, shared: str) -> None:
    registry.peers({ALICE: "192.0.2.1:51820", BOB: "[2001:db8::2]:40000"})
    registry.start(*configured(registry, knot, shared))
    knot.start()
    until(lambda: knot.port_of(ALICE) == 51820, "the transfer")
    for name, rdtype in (
        (instance_name(ALICE, ZONE), "SRV"),
        (instance_name(ALICE, ZONE), "A"),
        (instance_name(ALICE, ZONE), "TXT"),
        (instance_name(BOB, ZONE), "AAAA"),
        (instance_name(BOB, ZONE), "A"),
        (f"{SERVICE}.wg.example.com", "PTR"),
        ("_services._dns-sd._udp.wg.example.com", "PTR"),
        ("b._dns-sd._udp.wg.example.com", "PTR"),
        ("_udp.wg.example.com", "PTR"),
        ("nobody.wg.example.com", "SRV"),
        ("wg.example.com", "SOA"),
        ("wg.example.com", "NS"),
    ):
        ours, theirs = registry.ask(name, rdtype), knot.ask(name, rdtype)
        assert ours.rcode() == theirs.rcode(), name
        assert [(rrset, rrset.ttl) for rrset in ours.answer] == [(rrset, rrset.ttl) for rrset in theirs.answer], name


def test_a_new_endpoint_is_served_within_two_seconds(registry: Registry, knot: Knot, shared: str) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start(*configured(registry, knot, shared))
    knot.start()
    until(lambda: knot.port_of(ALICE) == 1, "the transfer")

    def follow(port: int) -> float:
        registry.peers({ALICE: f"192.0.2.1:{port}"})
        changed = time.monotonic()
        until(lambda: knot.port_of(ALICE) == port, "the new endpoint")
        return time.monotonic() - changed

    took = [follow(port) for port in range(2, 8)]
    print(f"a new endpoint is served by Knot after {', '.join(f'{seconds:.2f}' for seconds in took)} s")
    assert max(took) < GOAL


def test_a_thousand_peers_are_transferred_and_followed(registry: Registry, knot: Knot, shared: str) -> None:
    keys = [PublicKey(hashlib.sha256(b"%d" % number).digest()) for number in range(1000)]
    peers = {key: f"192.0.2.1:{1000 + number}" for number, key in enumerate(keys)}
    registry.peers(peers)
    registry.start(*configured(registry, knot, shared))
    began = time.monotonic()
    knot.start()
    until(lambda: knot.port_of(keys[-1]) == 1999, "the transfer")
    print(f"a thousand peers are served by Knot {time.monotonic() - began:.2f} s after its start")
    registry.peers({**peers, keys[500]: "192.0.2.1:7"})
    changed = time.monotonic()
    until(lambda: knot.port_of(keys[500]) == 7, "the new endpoint")
    took = time.monotonic() - changed
    print(f"a new endpoint of one of them is served after {took:.2f} s")
    assert took < GOAL
    assert all(knot.port_of(key) == 1000 + number for number, key in enumerate(keys) if number != 500)


def test_a_secondary_that_was_away_is_told(registry: Registry, knot: Knot, shared: str) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start(*configured(registry, knot, shared))
    knot.start()
    until(lambda: knot.port_of(ALICE) == 1, "the transfer")
    knot.stop()
    registry.peers({ALICE: "192.0.2.1:2"})
    registry.line(f"secondary {knot.address}:{PORT} of wg.example.com: notifications are not answered; trying on")
    knot.start()
    until(lambda: knot.port_of(ALICE) == 2, "the new endpoint")
    registry.line(f"secondary {knot.address}:{PORT} of wg.example.com is told of changes again")


def test_another_secret_is_refused_and_told(registry: Registry, knot: Knot) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start(*configured(registry, knot, secret()))
    knot.start()
    said = {registry.line(""), registry.line("")}
    about = f"wgsd-nm-registry: {knot.address} signs queries with the key {KEY}, but with another secret: "
    assert about + "give both sides the same\n" in said
    about = f"wgsd-nm-registry: secondary {knot.address}:{PORT} of wg.example.com: "
    assert about + f"notifications signed with the key {KEY} are not accepted (NOTAUTH); trying on\n" in said
    assert knot.port_of(ALICE) == 0
    assert knot.logged("TSIG")


def test_nobody_else_may_transfer(registry: Registry, knot: Knot, shared: str) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start(*configured(registry, knot, shared))
    key = dns.tsig.Key(KEY, shared)
    assert any("SRV" in text or "192.0.2.1" in text for text in content(transferred(registry, knot.address, key)))
    stranger = "127.0.0.77"
    for source, used, complaint in (
        (stranger, key, f"{stranger} may not transfer wg.example.com: it is not among its secondaries"),
        (
            knot.address,
            None,
            f"{knot.address} may not transfer wg.example.com: expected a query signed with the key {KEY}",
        ),
    ):
        with pytest.raises(dns.xfr.TransferError, match="REFUSED"):
            transferred(registry, source, used)
        registry.line(complaint)
