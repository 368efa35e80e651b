# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm refresh: what it asks, and what it says where there was nothing to look up."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from tests.unit.cli_agent import properties
from wgsd_nm.bus import names
from wgsd_nm.cli import client, refresh


class Connection:
    """A bus with an agent that does what it is asked."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._said = said
        self.calls: list[tuple[object, ...]] = []

    async def connect(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def call(self, *arguments: object, **_: object) -> list[object]:
        if arguments[3] == "NameHasOwner":
            return [True]
        self.calls.append(arguments[3:])
        return []

    async def get_all(self, _name: str, path: str, _interface: str) -> dict[str, Any]:
        assert path == names.AGENT_PATH
        return self._said


def run(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], *words: str) -> Connection:
    connection = Connection(said)
    monkeypatch.setattr(client, "Bus", lambda **_: connection)
    parser = argparse.ArgumentParser()
    refresh.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["refresh", *words])
    assert arguments.run(arguments) == client.DONE
    return connection


def test_it_says_nothing_when_it_is_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, properties()).calls == [("Refresh", "")]
    assert run(monkeypatch, properties(), "wg0").calls == [("RefreshTunnel", "s", "wg0")]
    assert capsys.readouterr() == ("", "")


def test_where_nothing_is_up_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, properties(tunnels=[], peers=[]))
    assert capsys.readouterr() == ("", f"wgsd-nm: {client.NOTHING_UP}\n")
