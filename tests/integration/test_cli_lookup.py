# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm lookup against a real name server on loopback; the kernel's device is the real one in tests/lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Self

import dns.rcode
import pytest

from tests.unit.nameserver import NameServer, Registry, reply
from wgsd_nm.agent import exchange
from wgsd_nm.cli import onepass
from wgsd_nm.cli.__main__ import main
from wgsd_nm.core.errors import DeviceError, NoSuchDevice, NotPermitted, WgsdError
from wgsd_nm.core.model import ChangeResult, Device, Endpoint, EndpointChange, Peer, PublicKey

ZONE = "wg.example.com"
ANNA, BERT, CARL, REGISTRY = (PublicKey(bytes([number] * 32)) for number in range(4))
OLD, NEW = Endpoint.parse("192.0.2.1:51820"), Endpoint.parse("192.0.2.2:51820")


class FakeWireGuard:
    """A device in memory that compares and sets; that the real one does is tested in tests/lab."""

    def __init__(self, *peers: Peer) -> None:
        self.peers = {peer.public_key: peer for peer in peers}
        self.roams: PublicKey | None = None
        self.read_error: WgsdError | None = None
        self.write_error: WgsdError | None = None

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, interface: str) -> Device:
        if self.read_error:
            raise self.read_error
        return Device(interface, None, 51820, 0, tuple(self.peers.values()))

    def set_endpoints(self, interface: str, changes: Sequence[EndpointChange]) -> dict[PublicKey, ChangeResult]:
        assert interface == "wg0"
        if self.write_error:
            raise self.write_error
        if self.roams:
            self.peers[self.roams] = replace(self.peers[self.roams], endpoint=Endpoint.parse("192.0.2.99:1"))
        results = {}
        for change in changes:
            peer = self.peers[change.public_key]
            if peer.endpoint == change.expected:
                self.peers[change.public_key] = replace(peer, endpoint=change.wanted)
            results[change.public_key] = (
                ChangeResult.CHANGED if peer.endpoint == change.expected else ChangeResult.STALE
            )
        return results

    def endpoint(self, key: PublicKey) -> Endpoint | None:
        return self.peers[key].endpoint


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeWireGuard:
    """Anna to be set, Bert alive, Carl unknown, and the registry's peer."""
    fake = FakeWireGuard(
        Peer(ANNA, OLD),
        Peer(BERT, OLD, latest_handshake=time.time_ns() // 1000),
        Peer(CARL),
        Peer(REGISTRY, OLD, allowed_ips=(ip_network("127.0.0.1/32"),)),
    )
    monkeypatch.setattr(onepass, "WireGuard", fake)
    return fake


def lookup(monkeypatch: pytest.MonkeyPatch, server: NameServer, *options: str) -> int:
    """The exit status; the questions go to loopback, where no socket is bound to wg0."""
    monkeypatch.setattr("wgsd_nm.cli.verdict.bound", lambda asked, _: asked)
    arguments = ["lookup", "--device", "wg0", "--dns", str(server.server), "--zone", ZONE, *options]
    monkeypatch.setattr(sys, "argv", ["wgsd-nm", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def registry() -> Registry:
    """It has moved Anna and Bert, and itself."""
    return Registry(ZONE, {ANNA: NEW, BERT: NEW, REGISTRY: NEW})


def test_what_differs_is_set(
    device: FakeWireGuard, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with registry:
        assert lookup(monkeypatch, registry) == 0
    assert [device.endpoint(key) for key in (ANNA, BERT, CARL, REGISTRY)] == [NEW, OLD, None, OLD]
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in said] == [str(key) for key in (ANNA, BERT, CARL, REGISTRY)]
    assert said[0].endswith(f"set to {NEW} (was {OLD})")


def test_a_second_time_nothing_is_left_to_do(
    device: FakeWireGuard, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with registry:
        lookup(monkeypatch, registry, "--quiet")
        assert len(capsys.readouterr().out.splitlines()) == 1
        device.write_error = DeviceError("nothing should be written")
        assert lookup(monkeypatch, registry, "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_force(device: FakeWireGuard, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry:
        assert lookup(monkeypatch, registry, "--force") == 0
    assert [device.endpoint(key) for key in (ANNA, BERT, CARL, REGISTRY)] == [NEW, NEW, None, OLD]


def test_dry_run_writes_nothing(
    device: FakeWireGuard, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with registry:
        assert lookup(monkeypatch, registry, "--dry-run", "--force", "--json") == 0
    assert device.endpoint(ANNA) == OLD
    results = [record["result"] for record in json.loads(capsys.readouterr().out)]
    assert results == ["would-set", "would-set", "unknown", "registry"]


def test_json(
    device: FakeWireGuard, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device.roams = ANNA
    with registry:
        assert lookup(monkeypatch, registry, "--json", "--force") == 0
    first, second, *_ = json.loads(capsys.readouterr().out)
    assert (first["result"], first["endpoint"], device.endpoint(ANNA)) == ("roamed", "", Endpoint.parse("192.0.2.99:1"))
    text = f"set to {NEW} (was {OLD})"
    names = ("public_key", "name", "result", "endpoint", "was", "text")
    assert second == dict(zip(names, (str(BERT), "", "set", str(NEW), str(OLD), text), strict=True))


def test_a_failed_write(
    device: FakeWireGuard, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device.write_error = DeviceError("the kernel will not")
    with registry:
        assert lookup(monkeypatch, registry) == 1
    assert "the kernel will not" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["read_error", "write_error"])
@pytest.mark.parametrize("error", [NoSuchDevice("there is none"), NotPermitted("you may not")])
def test_no_device_or_no_permission(
    device: FakeWireGuard,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    error: WgsdError,
) -> None:
    setattr(device, place, error)
    expected = 1 if place == "write_error" and isinstance(error, NoSuchDevice) else 2
    with registry:
        assert lookup(monkeypatch, registry) == expected
    said = capsys.readouterr()
    assert str(error) in said.err + said.out


class Silent(NameServer):
    """It answers nobody, or only what is asked for Bert."""

    def __init__(self, *, refuses_bert: bool) -> None:
        super().__init__()
        self._refuses_bert = refuses_bert

    def handle(self, request: bytes, tcp: bool) -> list[bytes]:  # noqa: ARG002  # the same over both
        is_bert = b"aeaqc" in request.lower()
        return [reply(request, rcode=dns.rcode.NXDOMAIN)] if self._refuses_bert and is_bert else []


@pytest.mark.parametrize(("refuses_bert", "status"), [(True, 1), (False, 2)])
def test_no_answer(
    device: FakeWireGuard,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refuses_bert: bool,
    status: int,
) -> None:
    for name in ("FIRST_TIMEOUT", "MIN_TIMEOUT", "MAX_TIMEOUT"):
        monkeypatch.setattr(exchange, name, 0.05)
    with Silent(refuses_bert=refuses_bert) as server:
        assert lookup(monkeypatch, server) == status
    assert device.endpoint(ANNA) == OLD
    assert "did not answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--device", "wg/0", "--dns", "10.0.0.1", "--zone", ZONE], "--device"),
        (["--device", "wg0", "--dns", "localhost", "--zone", ZONE], "--dns"),
        (["--device", "wg0", "--dns", "10.0.0.1:0", "--zone", ZONE], "--dns"),
        (["--device", "wg0", "--dns", "10.0.0.1", "--zone", "wg.local"], "multicast DNS"),
        (["--device", "wg0", "--dns", "10.0.0.1"], "--zone"),
    ],
)
def test_wrong_usage(options: list[str], text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wgsd_nm.cli", "lookup", *options], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_the_other_commands_start_without_what_only_this_one_needs() -> None:
    code = "import sys, wgsd_nm.cli.__main__; print([name for name in ('dns', 'pyroute2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
