# SPDX-License-Identifier: GPL-2.0-or-later
"""One tree of errors, each a fact that a caller can act on.

    WgsdError
    ├── InvalidValue           a text or number is not the value that it should be (also a ValueError)
    ├── ConfigError            a configuration file is wrong: file, key, what was expected
    ├── LookupFailed           a DNS question has no usable answer
    │   ├── NegativeAnswer     the registry says no, and for how long
    │   │   ├── NoSuchPeer     the registry does not know the name (NXDOMAIN)
    │   │   └── NoEndpoint     the registry knows the peer, but no endpoint for it (NODATA)
    │   ├── NoAnswer           nothing came back in time
    │   ├── RegistryUnreachable  the network refused the question (ICMP, no route, no such device)
    │   ├── RegistryRefused    the registry answered REFUSED, SERVFAIL, NOTIMP …
    │   └── BadAnswer          an answer came that proves nothing: malformed, foreign owner, another key
    ├── DeviceError            the kernel's WireGuard device cannot be used
    │   ├── NoSuchDevice       no network interface of that name
    │   ├── NotWireGuard       the interface is of another kind
    │   └── NotPermitted       CAP_NET_ADMIN is missing
    ├── RegistryError          the registry cannot serve
    │   ├── AddressUnusable    it cannot listen at an address: taken, not permitted, not of this machine
    │   └── ReaderLost         its privileged reader has ended, or speaks another language
    └── BusError               a D-Bus peer cannot be used, or refused
        ├── BusLost            the connection to the bus is down
        ├── CallTimedOut       no reply in time
        ├── ServiceUnavailable nobody owns the name, and it cannot be started
        ├── AccessDenied       the caller may not do this
        ├── InteractionRequired  the caller might do this, once a person has been asked
        ├── InvalidArguments   the call's arguments are not what the method takes
        └── CallFailed         any other error reply; `name` is the D-Bus error name

The text of an error is one sentence for a person. It says what was expected and, where that helps, what to do.
"""

from __future__ import annotations


class WgsdError(Exception):
    """The root of the tree."""


class InvalidValue(WgsdError, ValueError):
    """A text or number is not the value that it should be."""


class ConfigError(WgsdError):
    """A configuration file is wrong. The text names file, key and what was expected."""


class LookupFailed(WgsdError):
    """A DNS question has no usable answer."""


class NegativeAnswer(LookupFailed):
    """The registry says no, and says for how long: `ttl` seconds (RFC 2308 section 5), 0 where it does not say."""

    def __init__(self, text: str, ttl: int = 0) -> None:
        super().__init__(text)
        self.ttl = ttl


class NoSuchPeer(NegativeAnswer):
    """The registry does not know the name (RFC 1035 NXDOMAIN)."""


class NoEndpoint(NegativeAnswer):
    """The registry knows the peer, but has no endpoint for it (RFC 2308 NODATA)."""


class NoAnswer(LookupFailed):
    """Nothing came back in time."""


class RegistryUnreachable(LookupFailed):
    """The network refused the question: ICMP unreachable, no route, no such device."""


class RegistryRefused(LookupFailed):
    """The registry answered with an error code other than NXDOMAIN."""


class BadAnswer(LookupFailed):
    """An answer came that proves nothing: malformed, of another owner, or for another key."""


class DeviceError(WgsdError):
    """The kernel's WireGuard device cannot be used."""


class NoSuchDevice(DeviceError):
    """There is no network interface of that name."""


class NotWireGuard(DeviceError):
    """The interface exists and is of another kind."""


class NotPermitted(DeviceError):
    """The process lacks CAP_NET_ADMIN in the network namespace of the device."""


class RegistryError(WgsdError):
    """The registry cannot serve."""


class AddressUnusable(RegistryError):
    """The registry cannot listen at an address: taken, not permitted, not of this machine."""


class ReaderLost(RegistryError):
    """The registry's privileged reader has ended, or speaks another language."""


class BusError(WgsdError):
    """A D-Bus peer cannot be used, or refused."""


class BusLost(BusError):
    """The connection to the bus is down."""


class CallTimedOut(BusError):
    """No reply came in time."""


class ServiceUnavailable(BusError):
    """Nobody owns the bus name, and the bus cannot start its service."""


class AccessDenied(BusError):
    """The caller may not do this."""


class InteractionRequired(BusError):
    """A person would have to be asked, and the call did not allow that (ALLOW_INTERACTIVE_AUTHORIZATION)."""


class InvalidArguments(BusError):
    """The call's arguments are not what the method takes."""


class CallFailed(BusError):
    """Any other error reply. `name` is the D-Bus error name that came with it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name
