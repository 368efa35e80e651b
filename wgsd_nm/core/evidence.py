# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a peer's present path carries packets, told from successive readings of the kernel's counters.

A path is *alive* if, after the last evidence against it, the handshake's value changed, or octets were received under a
handshake younger than WireGuard's session limit (without one, a received initiation would count too and prove nothing).
While it is alive, an initiation that nobody answers is sending into silence, like data: the session may be gone.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple, Self

from wgsd_nm.core.model import Peer
from wgsd_nm.core.schedule import INITIATION_SLOT, INITIATIONS, SESSION, SUSPICION

KEEPALIVE_OCTETS = 32
"""An empty transport data message: 16 octets of header, 16 of tag (drivers/net/wireguard/messages.h)."""
INITIATION_OCTETS = 148
"""A handshake initiation (struct message_handshake_initiation); the kernel makes one in each slot, while something
waits to be sent."""
SLACK = 3
"""So many empty messages in a reading (pokes, passive keepalives) are not yet traffic."""


class Evidence(NamedTuple):
    """The last reading, and what followed from the readings so far. Times are seconds of the caller's clock."""

    handshake: int = 0
    """Microseconds since the epoch, as the kernel told; compared by value."""
    handshake_at: float = -inf
    """When that handshake was; -inf if there is none, or the kernel has forgotten its session."""
    rx_bytes: int = 0
    tx_bytes: int = 0
    read_at: float = -inf
    """When a reading first showed these values."""
    alive_since: float | None = None
    by_handshake: bool = False
    """Whether the path was proven by a handshake, else by octets received."""
    proven_at: float = -inf
    """When a reading last proved it."""
    against_at: float = -inf
    sending_since: float | None = None
    """Since when something was sent and nothing received."""
    sent_at: float = -inf
    """When it was last seen that somebody sends: more than keepalives, or what makes the kernel begin a handshake."""

    @property
    def alive(self) -> bool:
        return self.alive_since is not None

    def has_session(self, now: float) -> bool:
        """Whether the kernel can send data at once, without a handshake."""
        return now - self.handshake_at < SESSION

    def silence(self, now: float) -> float:
        """For how many seconds we have been sending without hearing anything."""
        return 0.0 if self.sending_since is None else now - self.sending_since

    def observe(self, peer: Peer, asked_at: float, now: float, clock: int, stirred_at: float = -inf) -> Self:
        """After a reading that was asked for at `asked_at`; `clock` is the wall clock in microseconds.

        `stirred_at` is when we last had the kernel send: initiations that follow soon do not tell that somebody sends.
        A reading asked for no later than the last evidence against the path proves nothing: it is what later ones are
        compared with. Counters that went back are those of another device or peer: all begins anew.
        """
        if peer.rx_bytes < self.rx_bytes or peer.tx_bytes < self.tx_bytes:
            return type(self)(against_at=asked_at).observe(peer, asked_at, now, clock, stirred_at)
        first = self.read_at == -inf
        if not first and (peer.latest_handshake, peer.rx_bytes, peer.tx_bytes) == (
            self.handshake,
            self.rx_bytes,
            self.tx_bytes,
        ):
            return self
        shaken = peer.latest_handshake not in (0, self.handshake)
        heard = not first and peer.rx_bytes > self.rx_bytes
        handshake_at = self.handshake_at
        if shaken:
            handshake_at = now - max(0.0, (clock - peer.latest_handshake) / 1e6) if first else now
        proven = not first and asked_at > self.against_at and (shaken or (heard and now - handshake_at < SESSION))
        sent = not first and self._is_traffic(peer, now)
        sending_since = self.sending_since
        if heard or shaken:
            sending_since = None
        else:
            begun = not first and self._is_initiation(peer, now)
            stirred = self.read_at < stirred_at + INITIATIONS
            sent = sent or (begun and not stirred and not peer.persistent_keepalive)
            if sending_since is None and (sent or (begun and self.alive)):
                sending_since = max(self.read_at, now - SUSPICION)
        return self._replace(
            handshake=peer.latest_handshake,
            handshake_at=handshake_at,
            rx_bytes=peer.rx_bytes,
            tx_bytes=peer.tx_bytes,
            read_at=now,
            alive_since=now if proven and not self.alive else self.alive_since,
            by_handshake=shaken if proven and not self.alive else self.by_handshake,
            proven_at=now if proven else self.proven_at,
            sending_since=sending_since,
            sent_at=now if sent else self.sent_at,
        )

    def against(self, now: float) -> Self:
        """After evidence against the path: it is not alive until proven again."""
        return self._replace(alive_since=None, against_at=now, sending_since=None)

    def forget_session(self) -> Self:
        """After the kernel has wiped its session keys, as it does on suspend (wg_pm_notification)."""
        return self._replace(handshake_at=-inf)

    def _is_initiation(self, peer: Peer, now: float) -> bool:
        """Whether the kernel has sent at least one since the last reading."""
        return peer.tx_bytes - self.tx_bytes >= INITIATION_OCTETS + KEEPALIVE_OCTETS * self._keepalives(peer, now)

    def _is_traffic(self, peer: Peer, now: float) -> bool:
        """Whether anybody but the kernel has sent something since the last reading."""
        initiations = 1 + (now - self.read_at) // INITIATION_SLOT
        idle = KEEPALIVE_OCTETS * (SLACK + self._keepalives(peer, now)) + INITIATION_OCTETS * initiations
        return peer.tx_bytes - self.tx_bytes > idle

    def _keepalives(self, peer: Peer, now: float) -> int:
        """As many as can have been sent since the last reading."""
        return int((now - self.read_at) // peer.persistent_keepalive) if peer.persistent_keepalive else 0
