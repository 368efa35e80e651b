# SPDX-License-Identifier: GPL-2.0-or-later
"""What the loop makes of actions, and of what comes of them. What is decided is tested with the controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar, cast

import pytest

from tests.unit.core_story import (
    BOB,
    CAROL,
    CONFIG,
    HOME,
    OFFICE,
    SELF,
    SERVER,
    advertised,
    kernel_peer,
    network,
    profile,
    tunnel,
    uplink,
)
from wgsd_nm.agent import loop as module
from wgsd_nm.agent.helper import HelperClient
from wgsd_nm.agent.loop import Loop
from wgsd_nm.agent.pushsession import PushSessions
from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.core.errors import (
    AccessDenied,
    BusLost,
    InvalidArguments,
    InvalidValue,
    LookupFailed,
    NoAnswer,
    NoSuchPeer,
    ServiceUnavailable,
    WgsdError,
)
from wgsd_nm.core.events import (
    Announce,
    ConfigLoaded,
    EndpointsSet,
    Event,
    Follow,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    ReadFailed,
    RecordsPushed,
    SeatChanged,
    SessionChanged,
    SetFailed,
    Woke,
)
from wgsd_nm.core.model import Advertisement, ChangeResult, EndpointChange, Network, Peer, PublicKey, Server
from wgsd_nm.core.reason import Reason

DEADLINE = 5.0
Kind = TypeVar("Kind", bound=Event)
OnAnswer = Callable[[PublicKey, Advertisement | LookupFailed], None]

NETWORK = network(uplink(), tunnels=[tunnel(profile(BOB, "10.0.0.2/32"), profile(CAROL, "10.0.0.3/32"))])


class Helper:
    """It has Bob and Carol, and does what it is told, unless it has an error to raise."""

    def __init__(self) -> None:
        self.read_error: WgsdError | None = None
        self.write_error: WgsdError | None = None
        self.orders: list[tuple[EndpointChange, ...]] = []

    async def get_peers(self, _interface: str) -> tuple[Peer, ...]:
        if self.read_error:
            raise self.read_error
        return (kernel_peer(BOB, "10.0.0.2/32"), kernel_peer(CAROL, "10.0.0.3/32"))

    async def set_endpoints(self, _interface: str, changes: Sequence[EndpointChange]) -> dict[PublicKey, ChangeResult]:
        self.orders.append(tuple(changes))
        if self.write_error:
            raise self.write_error
        return dict.fromkeys((change.public_key for change in changes), ChangeResult.CHANGED)


class Answers:
    """A resolver that holds every question until a test answers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Server, frozenset[PublicKey]]] = []
        self.error: Exception | None = None
        self.forgotten = 0
        self.cancelled = 0
        self.closed = False
        self.on_answer: OnAnswer
        self._over = asyncio.Event()
        self._asked = asyncio.Event()

    async def lookups(self, server: Server, _zone: str, keys: Iterable[PublicKey], on_answer: OnAnswer) -> None:
        self.asked.append((server, frozenset(keys)))
        self.on_answer = on_answer
        self._asked.set()
        if self.error:
            raise self.error
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def questions(self) -> None:
        """Returns when there are new ones."""
        await self._asked.wait()
        self._asked.clear()

    def end(self) -> None:
        """Whatever is under way ends."""
        self._over.set()

    def forget(self) -> None:
        self.forgotten += 1

    def close(self) -> None:
        self.closed = True


class Sessions:
    """Push sessions in which a test says what happens."""

    def __init__(self, handle: Callable[[Event], None]) -> None:
        self.handle = handle
        self.heard: list[Follow | str] = []

    def follow(self, order: Follow) -> None:
        self.heard.append(order)

    def network_changed(self) -> None:
        self.heard.append("the network changed")

    def answered(self, interface: str, source: str) -> None:
        self.heard.append(f"{source} has answered through {interface}")

    async def close(self) -> None:
        self.heard.append("closed")


class RecordedLoop(Loop):
    """A loop that a test can wait for."""

    def __init__(self, helper: Helper, answers: Answers) -> None:
        self.changes = 0
        self.announced: list[Announce] = []
        self.events: list[Event] = []
        self._event = asyncio.Event()
        self.sessions: Sessions
        super().__init__(
            cast("HelperClient", helper),
            cast("Resolver", answers),
            self._changed,
            self.announced.append,
            sessions=self._made,
        )

    def _made(self, handle: Callable[[Event], None]) -> PushSessions:
        self.sessions = Sessions(handle)
        return cast("PushSessions", self.sessions)

    def handle(self, event: Event) -> None:
        super().handle(event)
        self.events.append(event)
        self._event.set()

    async def heard(self, kind: type[Kind], number: int = 1) -> Kind:
        """The event of that kind and number, as soon as it was handled."""
        while len(found := [event for event in self.events if isinstance(event, kind)]) < number:
            self._event.clear()
            await self._event.wait()
        return found[number - 1]

    def _changed(self) -> None:
        self.changes += 1


Scene = Callable[[RecordedLoop, Helper, Answers], Coroutine[Any, Any, None]]


def play(scene: Scene, *, up: bool = True) -> None:
    """A scene; with `up`, the configured tunnel has just come up."""

    async def main() -> None:
        helper, answers = Helper(), Answers()
        loop = RecordedLoop(helper, answers)
        loop.handle(ConfigLoaded(CONFIG))
        if up:
            loop.handle(NetworkSeen(NETWORK))
            await answers.questions()
        try:
            async with asyncio.timeout(DEADLINE):
                await scene(loop, helper, answers)
        finally:
            await loop.close()
        assert answers.closed
        assert loop.sessions.heard[-1] == "closed"
        assert asyncio.all_tasks() == {asyncio.current_task()}, "something goes on after close()"

    asyncio.run(main())


def test_answers_of_one_turn_are_one_event_and_lead_to_one_order() -> None:
    async def scene(loop: RecordedLoop, helper: Helper, answers: Answers) -> None:
        await loop.heard(PeersRead)
        assert answers.asked == [(SERVER, frozenset([BOB, CAROL, SELF]))]
        for key, endpoint in ((BOB, HOME), (CAROL, OFFICE), (SELF, HOME)):
            answers.on_answer(key, advertised(key, endpoint))
        answers.end()
        event = await loop.heard(LookupsAnswered)
        assert [key for key, _ in event.answers] == [BOB, CAROL, SELF]
        done = await loop.heard(EndpointsSet)
        assert helper.orders == [done.changes]
        assert {change.public_key: change.wanted for change in done.changes} == {BOB: HOME, CAROL: OFFICE}
        assert {(each.public_key, each.new, each.reason) for each in loop.announced} == {
            (BOB, HOME, Reason.FOUND),
            (CAROL, OFFICE, Reason.FOUND),
        }
        assert len([event for event in loop.events if isinstance(event, LookupsAnswered)]) == 1
        assert loop.changes == len(loop.events)

    play(scene)


@pytest.mark.parametrize("answered", [0, 1])
def test_questions_that_the_resolver_gives_up_count_as_unanswered(answered: int) -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        if answered:
            answers.on_answer(BOB, advertised(BOB, HOME))
        answers.end()
        event = await loop.heard(LookupsAnswered, 1 + answered)
        assert {key for key, _ in event.answers} == {BOB, CAROL, SELF} - ({BOB} if answered else set())
        assert all(isinstance(answer, NoAnswer) for _, answer in event.answers)

    play(scene)


def test_a_registry_that_answers_is_a_reason_to_look_after_its_session_one_that_does_not_is_none() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        (order,) = loop.sessions.heard[-1:]
        answers.on_answer(BOB, NoAnswer("silence"))
        await loop.heard(LookupsAnswered)
        assert loop.sessions.heard[-1] is order
        for key in (CAROL, SELF):
            answers.on_answer(key, NoSuchPeer("unknown"))
        await loop.heard(LookupsAnswered, 2)
        await asyncio.sleep(0)
        assert loop.sessions.heard[-1] == f"{SERVER} has answered through wg0"

    play(scene)


def test_a_zone_that_the_resolver_does_not_take() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        answers.error = InvalidValue("no such zone can be")
        loop.handle(Woke())
        event = await loop.heard(LookupsAnswered)
        assert {key for key, _ in event.answers} == {BOB, CAROL, SELF}

    play(scene)


def test_what_was_asked_before_the_network_changed_is_not_heard_any_more() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        before, forgotten = answers.on_answer, answers.forgotten
        before(BOB, advertised(BOB, HOME))
        loop.handle(Woke())
        assert answers.forgotten == forgotten + 1
        await answers.questions()
        assert answers.cancelled == 1
        answers.on_answer(BOB, advertised(BOB, OFFICE))
        event = await loop.heard(LookupsAnswered)
        assert event.answers == ((BOB, advertised(BOB, OFFICE)),)

    play(scene)


def test_an_answer_that_comes_in_the_turn_in_which_the_network_changes_is_not_heard() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        before = answers.on_answer
        loop.handle(Woke())
        before(BOB, advertised(BOB, HOME))
        await answers.questions()
        answers.on_answer(BOB, advertised(BOB, OFFICE))
        event = await loop.heard(LookupsAnswered)
        assert event.answers == ((BOB, advertised(BOB, OFFICE)),)

    play(scene)


def test_it_is_known_how_things_are_when_the_network_was_seen_and_the_peers_were_read() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, _answers: Answers) -> None:
        assert not loop.known.is_set()
        loop.handle(NetworkSeen(NETWORK))
        assert not loop.known.is_set()
        await loop.heard(PeersRead)
        assert loop.known.is_set()

    play(scene, up=False)


def test_where_there_is_no_tunnel_nothing_has_to_be_read() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, _answers: Answers) -> None:
        loop.handle(NetworkSeen(network(uplink())))
        assert loop.known.is_set()

    play(scene, up=False)


def test_a_helper_that_fails_is_an_event() -> None:
    async def scene(loop: RecordedLoop, helper: Helper, answers: Answers) -> None:
        await loop.heard(PeersRead)
        helper.write_error = BusLost("gone")
        helper.read_error = AccessDenied("no")
        answers.on_answer(BOB, advertised(BOB, HOME))
        answers.end()
        assert (await loop.heard(SetFailed)).error is helper.write_error
        loop.handle(Woke())
        assert (await loop.heard(ReadFailed)).error is helper.read_error

    play(scene)


def test_time_passes_when_the_controller_wants_it() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        await loop.heard(PeersRead)
        answers.on_answer(BOB, advertised(BOB, HOME))  # the others do not answer: Bob's is written after a short while
        done = await loop.heard(EndpointsSet)
        assert [change.public_key for change in done.changes] == [BOB]

    play(scene)


def test_refresh_returns_when_the_pass_is_over_or_raises() -> None:
    async def scene(loop: RecordedLoop, helper: Helper, answers: Answers) -> None:
        answers.end()
        with pytest.raises(NoAnswer):
            await loop.refresh()
        with pytest.raises(InvalidArguments):
            await loop.refresh("wg9")
        helper.read_error = AccessDenied("no")
        with pytest.raises(AccessDenied):
            await loop.refresh("wg0")
        loop.handle(SeatChanged(False))
        with pytest.raises(ServiceUnavailable):
            await loop.refresh()

    play(scene)


def test_refresh_waits_until_it_is_known_which_tunnels_there_are() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        call = asyncio.create_task(loop.refresh("wg0"))
        await asyncio.sleep(0)
        assert not call.done()
        loop.handle(NetworkSeen(NETWORK))
        answers.end()
        with pytest.raises(NoAnswer):
            await call

    play(scene, up=False)


def test_refresh_does_not_wait_for_ever_for_networkmanager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_NETWORK", 0.0)

    async def scene(loop: RecordedLoop, _helper: Helper, _answers: Answers) -> None:
        with pytest.raises(ServiceUnavailable, match="which tunnels"):
            await loop.refresh()
        loop.handle(NetworkSeen(Network(available=True)))
        await loop.refresh()

    play(scene, up=False)


def test_a_caller_who_has_gone_is_not_answered() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        call = asyncio.create_task(loop.refresh())
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
        assert call.cancelled()
        answers.end()
        with pytest.raises(NoAnswer):
            await loop.refresh()

    play(scene)


def test_sessions_are_ordered_told_of_the_network_and_heard() -> None:
    async def scene(loop: RecordedLoop, helper: Helper, answers: Answers) -> None:
        ordered = loop.sessions.heard[-1]
        assert isinstance(ordered, Follow)
        assert [each.servers for each in ordered.tunnels] == [(SERVER,)]
        assert [set(each.keys) for each in ordered.tunnels] == [{BOB, CAROL, SELF}]
        for key in (BOB, CAROL, SELF):
            answers.on_answer(key, advertised(key, HOME))
        answers.end()
        await loop.heard(EndpointsSet)
        loop.sessions.handle(SessionChanged("wg0", str(SERVER), frozenset([BOB, CAROL])))
        loop.sessions.handle(RecordsPushed("wg0", str(SERVER), ((BOB, advertised(BOB, OFFICE)),)))
        await loop.heard(EndpointsSet, 2)
        assert (BOB, OFFICE) in [(change.public_key, change.wanted) for change in helper.orders[-1]]
        before = loop.sessions.heard[:]
        loop.handle(Woke())
        assert loop.sessions.heard == [*before, "the network changed"]

    play(scene)


def test_close_ends_what_is_under_way() -> None:
    async def scene(loop: RecordedLoop, _helper: Helper, answers: Answers) -> None:
        await loop.close()
        assert answers.cancelled == 1

    play(scene)
