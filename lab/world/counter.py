# SPDX-License-Identifier: GPL-2.0-or-later
"""A counter of packets at one place of one host: the proof of which way they went."""

from __future__ import annotations

import json
from typing import Self

from lab.world.host import Host

PRIORITIES = {"prerouting": -300, "forward": 0, "postrouting": 300}
"""Before the NAT has changed a packet that comes in, after it has changed one that goes out."""


class Counter:
    """An nftables counter in a table of its own; as a context manager it counts inside."""

    def __init__(self, host: Host, name: str, hook: str, *conditions: str) -> None:
        """Each of `conditions` is what nft says before the verdict, `hook` one of PRIORITIES."""
        self._host = host
        self._table = f"count_{name}"
        self._hook = hook
        self._rules = "\n".join(f"{condition} counter name seen" for condition in conditions)

    def start(self) -> None:
        """Count from now on."""
        self._host.nft(f"""
            table inet {self._table} {{
                counter seen {{}}
                chain seen {{
                    type filter hook {self._hook} priority {PRIORITIES[self._hook]}
                    {self._rules}
                }}
            }}
        """)

    def packets(self) -> int:
        """How many packets there were."""
        listed = self._host.run(["nft", "--json", "list", "counter", "inet", self._table, "seen"]).stdout
        return next(int(entry["counter"]["packets"]) for entry in json.loads(listed)["nftables"] if "counter" in entry)

    def stop(self) -> None:
        """Count no more, and forget."""
        self._host.nft(f"delete table inet {self._table}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
