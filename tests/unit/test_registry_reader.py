# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader by itself: what it may read, and how it ends."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry_objects import ALICE, device
from tests.unit.scripted_netlink import Script
from wgsd_nm.core.errors import DeviceError, InvalidValue
from wgsd_nm.core.model import Device
from wgsd_nm.registry import privileges, reader, snapshot
from wgsd_nm.registry.reader import Permitted, Reader, zone_devices

TWO_ZONES = """
user = "wgsd-nm-registry"
[zone."wg.example.com"]
device = "wg0"
[zone."lab.example.com"]
device = "wg1"
[zone."lab.example.com".names]
device = "KEY"
"""


def ask(script: Script, permitted: Permitted, *interfaces: str) -> list[Device | DeviceError]:
    """What a reader says of these interfaces, over one connection."""
    outcomes: list[Device | DeviceError] = []
    ours, theirs = socket.socketpair()
    with ours:
        thread = threading.Thread(target=_serve, args=(theirs, Reader(permitted, script.connect)))
        thread.start()
        for number, interface in enumerate(interfaces):
            ours.sendall(snapshot.request(number, interface))
            outcomes.append(_outcome(ours, number))
    thread.join(10)
    assert not thread.is_alive()
    return outcomes


def _serve(theirs: socket.socket, served: Reader) -> None:
    with theirs:
        served.serve(theirs)


def _outcome(ours: socket.socket, sequence: int) -> Device | DeviceError:
    header = ours.recv(snapshot.REPLY_LENGTH, socket.MSG_WAITALL)
    status, length = snapshot.parse_reply_header(header, sequence)
    body = ours.recv(length, socket.MSG_WAITALL) if length else b""
    return snapshot.failure(status, body) if status else snapshot.Decoder().decode(body)


def test_only_the_devices_named_are_read() -> None:
    script = Script(device(ALICE), device())
    first, refused, second = ask(script, Permitted(["wg0"]), "wg0", "eth0", "wg0")
    assert first == device(ALICE)
    assert str(refused) == "the reader may not read eth0: it was started for wg0"
    assert second == device()
    assert (script.opened, script.closed) == (1, 0)


def test_the_devices_of_the_zones_are_read_as_the_file_has_them_then(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(TWO_ZONES.replace("wg1", "wg2"))
    permitted = Permitted((), file)
    permitted.check("wg2")
    with pytest.raises(DeviceError, match=f"may not read wg1: no zone of {file} names it"):
        permitted.check("wg1")
    file.write_text(TWO_ZONES)
    permitted.check("wg1")
    permitted.check("wg0")
    with pytest.raises(DeviceError, match="may not read wg2"):
        permitted.check("wg2")


def test_a_file_that_cannot_be_read_is_named_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(TWO_ZONES)
    permitted = Permitted(("wg9",), file)
    permitted.check("wg0")
    for wrong, why in ((b"[", "it is not TOML"), (b"\xff", "it is not TOML")):
        file.write_bytes(wrong)
        with pytest.raises(DeviceError, match=f"cannot read {file}: {why}"):
            permitted.check("wg5")
    file.unlink()
    with pytest.raises(DeviceError, match=f"cannot read {file}: No such file or directory"):
        permitted.check("wg5")
    permitted.check("wg0")
    permitted.check("wg9")


@pytest.mark.parametrize(
    "text", ["", "zone = 5", "zone = [5]", "[zone.a]", "[zone]\na = 5", "[zone.a]\ndevice = 5", "device = 'wg0'"]
)
def test_what_names_no_device_permits_none(text: str) -> None:
    assert zone_devices(text) == frozenset()


@given(st.text())
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    try:
        zone_devices(text)
    except ValueError:
        pass


def test_what_is_nested_too_deep_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested"):
        zone_devices("a = " + 100_000 * "[")


@pytest.mark.parametrize("octets", [b"\x09\x01\0\0".ljust(19, b"\0"), snapshot.request(1, "wg0")[:-1], b"\x01"])
def test_the_reader_ends_where_it_is_not_understood(octets: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(octets)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(InvalidValue):
            Reader(Permitted(["wg0"]), Script().connect).serve(theirs)


def test_without_a_device_it_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reader.main([])
    assert "nothing may be read: expected --config FILE or --device DEVICE" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["77777", "-5", str(1 << 40)])
def test_a_descriptor_that_is_no_socket_is_named(capsys: pytest.CaptureFixture[str], number: str) -> None:
    assert reader.main(["--device", "wg0", f"--descriptor={number}"]) == 1
    said = f"wgsd-nm-registry-reader: descriptor {number} is no socket: expected an inherited one\n"
    assert capsys.readouterr().err == said


def test_what_it_lacks_to_give_up_its_privileges_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: int) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(privileges, "_prctl", forbidden)
    ours, theirs = socket.socketpair()
    with ours:
        assert reader.main(["--device", "wg0", "--descriptor", str(theirs.detach())]) == 1
    expected = "wgsd-nm-registry-reader: cannot become an unprivileged process: Operation not permitted\n"
    assert capsys.readouterr().err == expected


def test_without_a_server_it_does_not_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    assert reader.main(["--device", "wg0"]) == 1
    assert capsys.readouterr().err.startswith("wgsd-nm-registry-reader: there is no server to read for: expected")
