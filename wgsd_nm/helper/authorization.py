# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may do what on which interface: the whole policy of the helper. It knows nothing of WireGuard or of the methods.

A caller may act if
 1. the interface is one that users may act on: root has named it in helper.toml, or NetworkManager has a WireGuard
    connection active there whose connection.permissions admit the caller's user, and
 2. polkit authorises the caller for the action on that interface.
Whatever is absent, silent or broken means no.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import pwd
import time
from collections.abc import Callable
from typing import Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core.errors import (
    AccessDenied,
    BusError,
    BusLost,
    CallTimedOut,
    ConfigError,
    InteractionRequired,
)
from wgsd_nm.helper.networkmanager import NetworkManager
from wgsd_nm.helper.presence import Presence

ANSWER_WITHIN: Final = 17.0
"""Seconds that polkit, and NetworkManager, may take.

polkit lets a rule run for 15 s (RUNAWAY_KILLER_TIMEOUT). Version 122, Debian 12's, may miss the end of one, for it is
signalled without the lock (polkitbackendduktapeauthority.c), and then gives its answer after these 15 s.
The agent waits for 20 s.
"""
PERSON_ANSWERS_WITHIN: Final = 120.0
"""Seconds that polkit may take to ask a person."""
FRESH: Final = 1.0
"""Seconds for which it counts that an interface may be acted on."""

_ALLOW_USER_INTERACTION: Final = 1  # PolkitCheckAuthorizationFlags

_log = logging.getLogger(__name__)


class Authorization:
    """The policy. `named` gives the interfaces that root has named, or raises ConfigError; it is asked at each call.

    `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        bus: Bus,
        named: Callable[[], frozenset[str]],
        *,
        answer_within: float = ANSWER_WITHIN,
        person_answers_within: float = PERSON_ANSWERS_WITHIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._network_manager = NetworkManager(bus)
        self._presence = Presence(bus)
        self._answer_within = answer_within
        self._person_answers_within = person_answers_within
        self._named = named
        self._clock = clock
        self._questions = itertools.count(1)

    async def require(self, caller: Caller, action: str, interface: str) -> None:
        """Returns if the caller may take the polkit action on the interface.

        Raises AccessDenied, InteractionRequired, NoSuchDevice, NotWireGuard. Both conditions are examined at once to
        save time, and both to their end, so that a call that is over leaves no question behind. But a person is asked
        only about an interface that may be acted on. What was found of the interface counts for FRESH: when polkit has
        taken longer, or a person has answered, the interface is examined once more.
        """
        if caller.interactive:
            await self._require_interface(caller, interface)
            await self._ask_person(caller, action, interface)
            await self._require_interface(caller, interface)
            return
        examined, asked = await asyncio.gather(
            self._require_interface(caller, interface),
            self._require_action(caller, action, interface),
            return_exceptions=True,
        )
        if isinstance(examined, BaseException):
            raise examined
        if isinstance(asked, BaseException):
            raise asked
        if self._clock() - examined > FRESH:
            await self._require_interface(caller, interface)

    async def _require_interface(self, caller: Caller, interface: str) -> float:
        """Returns when it is known that the caller may act there: the time."""
        if interface not in self._interfaces_of_root():
            users = await self._users_of_networkmanager(interface)
            if users is not None and not await self._is_one_of(caller, users):
                raise AccessDenied(
                    f"the permissions of NetworkManager's connection on {interface} do not admit this user"
                )
        return self._clock()

    def _interfaces_of_root(self) -> frozenset[str]:
        try:
            return self._named()
        except ConfigError as error:
            _log.error("%s", error)
            return frozenset()

    async def _users_of_networkmanager(self, interface: str) -> frozenset[str] | None:
        try:
            async with asyncio.timeout(self._answer_within):
                return await self._network_manager.permitted_users(interface)
        except (AccessDenied, BusLost):
            raise
        except (BusError, TimeoutError) as error:
            _log.warning("NetworkManager gives no answer about %s: %s", interface, error or "time is up")
            raise AccessDenied(f"nothing is permitted on {interface} while NetworkManager gives no answer") from error

    async def _is_one_of(self, caller: Caller, users: frozenset[str]) -> bool:
        """As NetworkManager has it: root is always admitted (nm_auth_is_subject_in_acl)."""
        uid = await self._bus.uid_of(caller)
        if uid == 0:
            return True
        try:
            async with asyncio.timeout(self._answer_within):
                return await asyncio.to_thread(_user_name, uid) in users
        except TimeoutError:
            _log.warning("the name of user %d is not told in time: see nsswitch.conf(5)", uid)
            raise AccessDenied("nothing is permitted by a user's name while the system does not tell it") from None

    async def _ask_person(self, caller: Caller, action: str, interface: str) -> None:
        """The question is withdrawn when the caller, who would have got the answer, has gone."""
        question = str(next(self._questions))
        asking = asyncio.ensure_future(self._require_action(caller, action, interface, question))
        gone = asyncio.ensure_future(self._presence.until_gone(caller))
        try:
            await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return await asking
        finally:
            for each in (asking, gone):
                each.cancel()
            await asyncio.gather(asking, gone, return_exceptions=True)
        await self._withdraw(question)
        raise AccessDenied("nothing is permitted to a caller that has left the bus")

    async def _require_action(self, caller: Caller, action: str, interface: str, question: str = "") -> None:
        """`question` names a question that a person may be asked; it takes that long."""
        try:
            reply = await self._bus.call(
                names.POLKIT,
                names.POLKIT_PATH,
                names.POLKIT_AUTHORITY,
                "CheckAuthorization",
                "(sa{sv})sa{ss}us",
                ["system-bus-name", {"name": Variant("s", caller.name)}],
                action,
                {"interface": interface},
                _ALLOW_USER_INTERACTION if question else 0,
                question,
                timeout=self._person_answers_within if question else self._answer_within,
            )
        except BusLost:
            raise
        except BusError as error:
            _log.warning("polkit gives no answer: %s", error)
            if question and isinstance(error, CallTimedOut):
                await self._withdraw(question)
            raise AccessDenied("nothing is permitted while polkit gives no answer") from error
        match reply:
            case [[True, bool(), dict()]]:
                return
            case [[False, True, dict()]] if not question:
                raise InteractionRequired(f"{action} needs a password: allow interactive authorization in the call")
            case [[False, bool(), dict()]]:
                raise AccessDenied(f"polkit does not permit {action} on {interface} to this user in this session")
            case _:
                _log.warning("polkit's answer is not that of CheckAuthorization")
                raise AccessDenied("nothing is permitted while polkit's answer is not understood")

    async def _withdraw(self, question: str) -> None:
        """Takes the password box off the screen."""
        try:
            await self._bus.call(
                names.POLKIT, names.POLKIT_PATH, names.POLKIT_AUTHORITY, "CancelCheckAuthorization", "s", question
            )
        except BusError as error:
            _log.warning("polkit does not withdraw its question: %s", error)


def _user_name(uid: int) -> str:
    """The user's name, empty for none. It may take long: NSS may ask a directory service."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
