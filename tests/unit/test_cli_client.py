# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a command that has no agent, or that the agent refuses: a line and an exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgsd_nm.agent import configfile
from wgsd_nm.agent.loop import FIRST_NETWORK
from wgsd_nm.cli import client
from wgsd_nm.core.errors import AccessDenied, BusLost, CallFailed, CallTimedOut, InvalidArguments, ServiceUnavailable
from wgsd_nm.core.schedule import REFRESH


class Connection:
    """A bus on which every call to the agent ends in one way."""

    def __init__(self, error: Exception | None, *, is_running: bool) -> None:
        self._error = error
        self._is_running = is_running
        self.calls: list[tuple[object, ...]] = []
        self.closed = False

    async def connect(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True

    async def call(self, *arguments: object, timeout: float = 0.0) -> list[object]:  # noqa: ASYNC109  # as Bus has it
        if arguments[3] == "NameHasOwner":
            return [self._is_running]
        assert timeout > REFRESH + FIRST_NETWORK, "the agent may take that long, and be started by the very call"
        self.calls.append(arguments[3:])
        if self._error:
            raise self._error
        return []


def connect(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, *, is_running: bool = True) -> Connection:
    connection = Connection(error, is_running=is_running)
    monkeypatch.setattr(client, "Bus", lambda **_: connection)
    return connection


async def refresh(agent: client.Agent) -> int:
    await agent.refresh()
    await agent.refresh("wg0")
    return client.DONE


def test_refresh_is_for_all_tunnels_or_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect(monkeypatch)
    assert client.with_agent(refresh) == client.DONE
    assert connection.calls == [("Refresh", ""), ("RefreshTunnel", "s", "wg0")]
    assert connection.closed


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BusLost("it is gone"), client.NO_AGENT),
        (ServiceUnavailable("it is gone"), client.NO_AGENT),
        (CallTimedOut("it is gone"), client.NO_AGENT),
        (AccessDenied("it is gone"), client.FAILED),
        (InvalidArguments("it is gone"), client.FAILED),
        (CallFailed("io.github.wgsd_nm.Error.NoRegistryAnswered", "it is gone"), client.FAILED),
    ],
)
def test_what_goes_wrong_is_a_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    connection = connect(monkeypatch, error)
    assert client.with_agent(refresh) == status
    said = capsys.readouterr()
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith("wgsd-nm: ")
    assert first.endswith("it is gone")
    assert bool(rest) is (status == client.NO_AGENT)
    assert connection.closed


@pytest.mark.parametrize("place", ["user", "system"])
def test_an_agent_that_is_not_running_is_started_where_anything_is_configured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str
) -> None:
    """Its unit's condition would have the call wait for D-Bus to give up."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(configfile, "SYSTEM_FILE", tmp_path / "system" / "wgsd-nm" / "config.toml")
    connection = connect(monkeypatch, is_running=False)
    assert client.with_agent(refresh) == client.NO_AGENT
    assert "wgsd-nm setup" in capsys.readouterr().err
    assert not connection.calls
    file = tmp_path / place / "wgsd-nm" / "config.toml"
    file.parent.mkdir(parents=True)
    file.touch()
    assert client.with_agent(refresh) == client.DONE
    assert connection.calls


def test_no_session_bus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'nobody'}")
    assert client.with_agent(refresh) == client.NO_AGENT
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("wgsd-nm: the session bus cannot be reached: ")
    assert "not by sudo" in second
    assert "DBUS_SESSION_BUS_ADDRESS=" in second
