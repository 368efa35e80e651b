# SPDX-License-Identifier: GPL-2.0-or-later
"""A host of the little internet: a network namespace, programs that run in it, and what can be read from it."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.world.profile import WireGuardProfile
from lab.world.wireguard import Peer, parse_dump

LOGS = Path("/lab/out/logs")
WEB = str(Path(__file__).with_name("web.py"))
STOP_LIMIT = 20.0


class CommandFailedError(AssertionError):
    """A command ended with a status other than 0."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it said."""

    status: int
    stdout: str
    stderr: str


class Host:
    """A network namespace by name. The file system is the guest's, unless a subclass says otherwise."""

    def __init__(self, name: str) -> None:
        """Say which; `make_namespaces` makes it."""
        self.name = name
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def ip(self, *commands: str) -> None:
        """Several commands of ip(8) in this namespace, by one process."""
        call("ip", "-n", self.name, "-batch", "-", text="".join(f"{command}\n" for command in commands))

    def entry(self, user: str | None = None) -> list[str]:
        """The start of a command line that runs the rest on this host, as root or another user."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *_as_user(user)]

    def environment(self, user: str | None = None) -> dict[str, str]:
        """The variables that a program on this host starts with."""
        home = "/root" if user is None else f"/home/{user}"
        name = "root" if user is None else user
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED") if key in os.environ}
        return kept | {"HOME": home, "USER": name, "LOGNAME": name}

    def run(
        self,
        argv: Sequence[str],
        user: str | None = None,
        check: bool = True,
        text: str | None = None,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command to its end; raises CommandFailedError if it fails and `check` is true."""
        done = subprocess.run(
            [*self.entry(user), *argv],
            input=text, capture_output=True, text=True, timeout=timeout, check=False,
            env=self.environment(user) | dict(env or {}),
        )  # fmt: skip
        if check and done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise CommandFailedError(f"{self.name}: {' '.join(argv)}: status {done.returncode}\n{said}")
        return Result(done.returncode, done.stdout, done.stderr)

    def spawn(
        self, argv: Sequence[str], name: str, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program that runs until `stop(name)` or the world's end; what it says goes to its log."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [*self.entry(user), *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=self.environment(user) | dict(env or {}),
            )  # fmt: skip
        self.processes[name] = process
        return process

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """End a spawned program and wait for it (killing it if it lingers); returns its status."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            return process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def log(self, name: str) -> Path:
        """Where the program of this name writes; the file exists and anybody may write to it."""
        path = LOGS / f"{self.name}-{name}.log"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.chmod(0o666)
        return path

    def wg(self, *arguments: str, text: str | None = None) -> str:
        """What wg(8) says."""
        return self.run(["wg", *arguments], text=text).stdout

    def make_wireguard(self, profile: WireGuardProfile) -> None:
        """Make the kernel's device anew, as wg-quick would from this profile."""
        device = profile.interface
        script = f"""
            ip link del {device} 2>/dev/null
            ip link add {device} type wireguard && wg setconf {device} /dev/stdin &&
            for address in {profile.address} {profile.address6}; do ip address add $address dev {device}; done &&
            ip link set {device} mtu 1420 up
        """
        self.run(["sh", "-c", script], text=profile.wg_configuration())

    def punch(self, public_key: str, endpoint: str, keepalive: int = 25, interface: str = "wg0") -> None:
        """Set a peer's endpoint and have the kernel send to it at once."""
        peer = ["set", interface, "peer", public_key]
        self.wg(*peer, "endpoint", endpoint, "persistent-keepalive", "0")
        self.wg(*peer, "persistent-keepalive", str(keepalive))

    def peers(self, interface: str = "wg0") -> dict[str, Peer]:
        """The peers of a WireGuard device, by public key."""
        return parse_dump(self.wg("show", interface, "dump"))

    def ping(self, address: str, timeout: float = 15.0) -> bool:
        """Whether one of the pings that are sent within this time is answered."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            result = self.run(["ping", "-n", "-c1", "-W1", address], check=False)
            if result.status == 0:
                return True
            if "PING" not in result.stdout:
                raise CommandFailedError(f"{self.name}: ping {address}: {result.stderr}")
            time.sleep(0.1)
        return False

    def forward(self) -> None:
        """Become a router of both families."""
        self.run(["sh", "-c", "echo 1 | tee /proc/sys/net/ipv4/ip_forward >/proc/sys/net/ipv6/conf/all/forwarding"])

    def nft(self, ruleset: str) -> None:
        """Load nftables rules."""
        self.run(["nft", "-f", "-"], text=ruleset)

    def close(self) -> None:
        """End all programs and remove the namespace."""
        for process in self.processes.values():
            process.terminate()
        for name in list(self.processes):
            self.stop(name)
        call("ip", "netns", "del", self.name)


def make_namespaces(*names: str) -> None:
    """Make empty network namespaces, all by one process."""
    call("ip", "-batch", "-", text="".join(f"netns add {name}\n" for name in names))


def call(*argv: str, text: str | None = None) -> str:
    """Run a command of the guest itself; raises CommandFailedError with what it said."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(f"{' '.join(argv)}: status {done.returncode}\n{text or ''}{done.stdout}{done.stderr}")
    return done.stdout


def _as_user(user: str | None) -> list[str]:
    if user is None:
        return []
    account = pwd.getpwnam(user)
    return [f"--setuid={account.pw_uid}", f"--setgid={account.pw_gid}"]
