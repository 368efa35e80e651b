# SPDX-License-Identifier: GPL-2.0-or-later
"""A logind that plays sleep and wake-up, and a user whose session comes, goes and changes. It starts no session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method, Property, Signal
from wgsd_nm.core.errors import CallFailed

SESSION: Final = f"{names.LOGIN1}.Session"
USER: Final = f"{names.LOGIN1}.User"
NO_SESSION: Final = f"{names.LOGIN1}.NoSuchSession"
USER_PATH: Final = f"{names.LOGIN1_PATH}/user/self"


class ScriptedLogind:
    """logind's name and objects on a bus; no session at first."""

    def __init__(self, bus: Bus) -> None:
        self.sessions: dict[str, bool] = {}
        """Whether each session is active, by its id."""
        self.display = ""
        """The id of the session that is elected as the user's display, of a graphical one if there is one."""
        self.of_process = ""
        """The id of the session that every process is in."""
        self._bus = bus
        bus.export(
            names.LOGIN1_PATH,
            Interface(
                names.LOGIN1_MANAGER,
                methods={
                    "GetSession": Method(self._get_session, (("id", "s"),), (("path", "o"),)),
                    "GetSessionByPID": Method(self._get_session_by_pid, (("pid", "u"),), (("path", "o"),)),
                    "GetUser": Method(self._get_user, (("uid", "u"),), (("path", "o"),)),
                },
                signals={
                    "PrepareForSleep": Signal((("start", "b"),)),
                    "SessionNew": Signal((("id", "s"), ("path", "o"))),
                    "SessionRemoved": Signal((("id", "s"), ("path", "o"))),
                },
            ),
        )
        bus.export(USER_PATH, Interface(USER, properties={"Display": Property("(so)", self._shown_display)}))

    async def appear(self) -> None:
        """logind starts."""
        await self._bus.request_name(names.LOGIN1)

    async def vanish(self) -> None:
        """logind ends. Sessions live on."""
        await self._bus.release_name(names.LOGIN1)

    def add(self, session: str, active: bool) -> None:
        """A session begins."""
        self.sessions[session] = active
        properties = {
            "Active": Property("b", lambda: self.sessions[session]),
            "IdleHint": Property("b", lambda: False),
        }
        self._bus.export(path_of(session), Interface(SESSION, properties=properties))
        self._say("SessionNew", session, path_of(session))

    def elect(self, session: str) -> None:
        """Another of the user's sessions is the display from now on; logind says so behind SessionNew."""
        self.display = session
        self._bus.changed(USER_PATH, USER, "Display")

    def remove(self, session: str) -> None:
        """A session ends."""
        del self.sessions[session]
        self._say("SessionRemoved", session, path_of(session))

    def set_active(self, session: str, active: bool) -> None:
        """The user switches to or away from a session."""
        self.sessions[session] = active
        self._bus.changed(path_of(session), SESSION, "Active")

    def idle(self, session: str) -> None:
        """Something that means nothing here."""
        self._bus.changed(path_of(session), SESSION, "IdleHint")

    def prepare_for_sleep(self, start: bool) -> None:
        """The machine goes to sleep, or has woken up."""
        self._say("PrepareForSleep", start)

    def _say(self, member: str, *arguments: object) -> None:
        self._bus.emit(names.LOGIN1_PATH, names.LOGIN1_MANAGER, member, *arguments)

    def _shown_display(self) -> list[str]:
        return [self.display, path_of(self.display) if self.display else "/"]

    def _known(self, session: str) -> Sequence[object]:
        if session not in self.sessions:
            raise CallFailed(NO_SESSION, f"No session '{session}' known")
        return [path_of(session)]

    async def _get_session(self, _: Caller, session: str) -> Sequence[object]:
        return self._known(session)

    async def _get_session_by_pid(self, _: Caller, _pid: int) -> Sequence[object]:
        return self._known(self.of_process)

    async def _get_user(self, _: Caller, _uid: int) -> Sequence[object]:
        return [USER_PATH]


def path_of(session: str) -> str:
    """As logind escapes an id that begins with a digit."""
    return f"{names.LOGIN1_PATH}/session/_3{session}"
