# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which a caller is examined, and what becomes of questions; real neighbours are in tests/integration."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from tests.unit.helper_bus import HelperBus
from wgsd_nm.bus.connection import Bus, Caller
from wgsd_nm.core.errors import AccessDenied, ConfigError, InteractionRequired, NoSuchDevice
from wgsd_nm.helper import authorization
from wgsd_nm.helper.authorization import FRESH, Authorization
from wgsd_nm.helper.networkmanager import NetworkManager

SOON = 10.0
QUIET, INTERACTIVE = Caller(":1.7", False), Caller(":1.7", True)
YES, CHALLENGE = [[True, False, {}]], [[False, True, {}]]


class Stage:
    """polkit answers when the test lets it, and thinks for `thinks` seconds; root has named wg1."""

    def __init__(self) -> None:
        self.bus = HelperBus()
        self.named = {"wg1"}
        self.answer: list[Any] = YES
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.thinks = 0.0
        self.now = 1000.0
        self.bus.answers["CheckAuthorization"] = self._check
        self.authorization = Authorization(cast("Bus", self.bus), lambda: frozenset(self.named), clock=lambda: self.now)

    async def _check(self, *_: object) -> list[Any]:
        await self.go_on.wait()
        self.now += self.thinks
        return self.answer

    async def require(self, caller: Caller, interface: str = "wg1") -> None:
        async with asyncio.timeout(SOON):
            await self.authorization.require(caller, "an.action", interface)

    async def asked(self, caller: Caller, interface: str = "wg1") -> asyncio.Future[None]:
        """A call that polkit is thinking about."""
        self.go_on.clear()
        call = asyncio.ensure_future(self.require(caller, interface))
        await self.bus.until("CheckAuthorization")
        return call


@pytest.mark.parametrize("caller", [QUIET, INTERACTIVE])
def test_it_returns_when_both_say_yes(caller: Caller) -> None:
    asyncio.run(Stage().require(caller))


@pytest.mark.parametrize("answer", [[], [[True]], [[1, False, {}]], [[True, False, {}], 1], [[True, 0, {}]], ["yes"]])
def test_an_answer_that_makes_no_sense_is_a_no(answer: list[Any]) -> None:
    async def main() -> None:
        stage = Stage()
        stage.answer = answer
        with pytest.raises(AccessDenied, match="not understood"):
            await stage.require(QUIET)

    asyncio.run(main())


def test_only_who_did_not_allow_a_question_is_told_of_one() -> None:
    async def main() -> None:
        stage = Stage()
        stage.answer = CHALLENGE
        with pytest.raises(InteractionRequired):
            await stage.require(QUIET)
        with pytest.raises(AccessDenied, match="polkit does not permit"):
            await stage.require(INTERACTIVE)

    asyncio.run(main())


def test_a_call_that_is_refused_early_does_not_leave_its_question_behind() -> None:
    """Else the calls that a user may have at work would not limit his questions to polkit."""

    async def main() -> None:
        stage = Stage()
        call = await stage.asked(QUIET, "wg9")
        await stage.bus.until("GetDeviceByIpIface")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not call.done()
        stage.go_on.set()
        with pytest.raises(NoSuchDevice):
            await call

    asyncio.run(main())


@pytest.mark.parametrize(("thinks", "examined"), [(FRESH / 2, 0), (2 * FRESH, 1)])
def test_what_was_found_of_the_interface_counts_for_a_moment(thinks: float, examined: int) -> None:
    async def main() -> None:
        stage = Stage()
        stage.thinks = thinks
        call = await stage.asked(QUIET)
        stage.named.clear()
        stage.go_on.set()
        if examined:
            with pytest.raises(NoSuchDevice):
                await call
        else:
            await call
        assert stage.bus.calls.count("GetDeviceByIpIface") == examined

    asyncio.run(main())


def test_the_interface_is_examined_again_when_a_person_has_answered() -> None:
    async def main() -> None:
        stage = Stage()
        call = await stage.asked(INTERACTIVE)
        stage.named.clear()
        stage.go_on.set()
        with pytest.raises(NoSuchDevice):
            await call

    asyncio.run(main())


def test_the_question_of_a_caller_that_leaves_is_withdrawn() -> None:
    async def main() -> None:
        stage = Stage()
        call = await stage.asked(INTERACTIVE)
        await stage.bus.until("NameHasOwner")
        for _ in range(3):
            await asyncio.sleep(0)
        stage.bus.leave(INTERACTIVE.name)
        with pytest.raises(AccessDenied, match="left the bus"):
            await call
        assert stage.bus.withdrawn == ["1"]

    asyncio.run(main())


def test_an_answered_question_is_not_withdrawn() -> None:
    async def main() -> None:
        stage = Stage()
        await stage.require(INTERACTIVE)
        assert not stage.bus.withdrawn

    asyncio.run(main())


def test_a_directory_of_users_that_hangs_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(authorization, "_user_name", lambda _: go_on.wait(SOON) and "alice")

    async def permitted(*_: object) -> frozenset[str]:
        return frozenset({"alice"})

    monkeypatch.setattr(NetworkManager, "permitted_users", permitted)

    async def main() -> None:
        stage = Stage()
        stage.authorization = Authorization(cast("Bus", stage.bus), frozenset, answer_within=0.01)
        try:
            with pytest.raises(AccessDenied, match="user's name"):
                await stage.require(QUIET, "wg0")
        finally:
            go_on.set()
        stage.authorization = Authorization(cast("Bus", stage.bus), frozenset)
        await stage.require(QUIET, "wg0")

    asyncio.run(main())


def test_a_wrong_file_of_root_names_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def wrong() -> frozenset[str]:
        raise ConfigError("/etc/wgsd-nm/helper.toml is not TOML")

    async def main() -> None:
        stage = Stage()
        stage.authorization = Authorization(cast("Bus", stage.bus), wrong)
        with pytest.raises(NoSuchDevice):
            await stage.require(QUIET)

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["/etc/wgsd-nm/helper.toml is not TOML"]
