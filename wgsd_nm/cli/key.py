# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm key: a public key as WireGuard writes it, from the one in a peer's DNS name, and the other way round."""

from __future__ import annotations

import argparse
import sys

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import PublicKey, shown

BASE64_LENGTH = 44


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "key",
        help="convert public keys between WireGuard and DNS",
        description="Convert public keys: base64, as wg prints them, to base32, as DNS names hold them, and back.",
    )
    parser.add_argument("keys", nargs="+", metavar="KEY", help="base64, base32, or a DNS name that begins with base32")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print each key in its other form, a line each. Exit status: 0 done, 2 some are no keys."""
    status = 0
    for text in arguments.keys:
        try:
            print(converted(text))
        except InvalidValue as error:
            print(f"wgsd-nm: {error}", file=sys.stderr)
            status = 2
    return status


def converted(text: str) -> str:
    """The key in its other form. Raises InvalidValue."""
    from wgsd_nm.core import dnssd  # here, so that the other commands start without dnspython

    if len(text) == BASE64_LENGTH:
        return dnssd.instance_label(PublicKey.parse(text))
    try:
        return str(dnssd.key_from_label(text.partition(".")[0]))
    except InvalidValue:
        raise InvalidValue(
            f"{shown(text)} is no public key: expected 44 letters of base64, or 52 or 56 letters of base32"
        ) from None
