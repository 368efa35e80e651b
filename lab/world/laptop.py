# SPDX-License-Identifier: GPL-2.0-or-later
"""A laptop: its own system bus, polkit and NetworkManager, the session bus of user u, and our product installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import nullcontext
from pathlib import Path

from lab.world import install
from lab.world.host import Result
from lab.world.nat import Nat
from lab.world.profile import IPV6, UPLINK, WireGuardProfile
from lab.world.station import Station
from lab.world.waiting import wait_for

USER = "u"
RUNTIME = "/run/user/1000"
PROFILES = "/etc/NetworkManager/system-connections"
OVERLAYS = ("/etc", "/usr/share/dbus-1", "/usr/share/polkit-1", "/var/lib")
RUN_FOLDERS = {"/run/dbus": "messagebus", "/run/lock": "root", "/run/NetworkManager": "root", RUNTIME: USER}
MOUNT = "mount --all --fstab $1 && mount -o remount,bind,ro /sys && echo ready && exec sleep infinity"
"""With /sys read-only NetworkManager does without udev."""


class Laptop(Station):
    """A station whose file system is its own: /etc, /run, /home/u, /var/lib, D-Bus and polkit files."""

    def __init__(self, name: str) -> None:
        """Make the laptop and its mounts; nothing runs on it before `boot()`."""
        super().__init__(name)
        self._anchor = self._make_mounts()

    def _make_mounts(self) -> subprocess.Popen[str]:
        """The process that holds the private mounts; few processes are used, for each is dear."""
        files = Path("/run/lab") / self.name
        fstab = [
            f"run-of-{self.name} /run tmpfs mode=755",
            f"home-of-{self.name} /home/{USER} tmpfs uid=1000,gid=1000,mode=700",
        ]
        for folder in OVERLAYS:
            upper, work = files / "upper" / folder[1:], files / "work" / folder[1:]
            upper.mkdir(parents=True)
            work.mkdir(parents=True)
            options = f"lowerdir={folder},upperdir={upper},workdir={work}"
            fstab.insert(0, f"overlay-of-{self.name} {folder} overlay {options}")
        (files / "fstab").write_text("".join(f"{line}\n" for line in fstab))
        anchor = subprocess.Popen(
            [*super().entry(), "unshare", "--mount", "sh", "-c", MOUNT, "sh", str(files / "fstab")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        with anchor.stdout or nullcontext() as stdout:
            if not stdout or stdout.readline() != "ready\n":
                raise AssertionError(f"{self.name}: the private mounts could not be made")
        for name, owner in RUN_FOLDERS.items():
            made = Path(f"/proc/{anchor.pid}/root{name}")
            made.mkdir(parents=True)
            shutil.chown(made, owner)
        return anchor

    def entry(self, user: str | None = None) -> list[str]:
        """As in Host, in the laptop's own mounts; the working directory is /."""
        _, _, *as_user = super().entry(user)
        return ["nsenter", f"--target={self._anchor.pid}", "--net", "--mount", *as_user]

    def environment(self, user: str | None = None) -> dict[str, str]:
        """As in Host; u finds its session bus."""
        session = {"XDG_RUNTIME_DIR": RUNTIME, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={RUNTIME}/bus"}
        return super().environment(user) | (session if user == USER else {})

    def path(self, name: str) -> Path:
        """The laptop's file of this absolute name, as seen from the test."""
        return Path(f"/proc/{self._anchor.pid}/root{name}")

    def write(self, name: str, text: str, mode: int = 0o644, user: str | None = None) -> None:
        """Write a file on the laptop, making its folders; they belong to `user` like the file."""
        target = self.path(name)
        missing = [folder for folder in target.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o755)
        target.write_text(text)
        target.chmod(mode)
        if user:
            for made in (*missing, target):
                shutil.chown(made, user, user)

    def boot(self, *wireguard: WireGuardProfile, ipv6: bool = False) -> None:
        """Start the buses and NetworkManager with the uplink's profile and these; does not wait for connections."""
        install.polkit_rule(self, USER)
        install.product(self)
        install.network_manager(self)
        self.path("/etc/NetworkManager/dispatcher.d/01-ifupdown").unlink(missing_ok=True)
        self.write(f"{PROFILES}/uplink.nmconnection", UPLINK.format(ipv6=IPV6[ipv6]), mode=0o600)
        for profile in wireguard:
            self.write(_file_of(profile), profile.keyfile(), mode=0o600)
        self.spawn(["dbus-daemon", "--system", "--nofork", "--nopidfile"], name="system-bus")
        self.spawn(
            ["dbus-daemon", "--session", f"--address=unix:path={RUNTIME}/bus", "--nofork", "--nopidfile"],
            name="session-bus", user=USER,
        )  # fmt: skip
        for socket in ("/run/dbus/system_bus_socket", f"{RUNTIME}/bus"):
            wait_for(self.path(socket).exists, 60, f"{self.name}'s {socket}")
        self.start_network_manager()

    def start_network_manager(self) -> None:
        """Start NetworkManager; `stop("NetworkManager")` ends it."""
        self.spawn(["NetworkManager", "--debug"], name="NetworkManager")

    def adopt(self, profile: WireGuardProfile) -> None:
        """Have this profile in place of the one for its interface, and activate it; returns when it is."""
        self.write(_file_of(profile), profile.keyfile(), mode=0o600)
        self.nmcli("connection", "load", _file_of(profile))
        self.nmcli("connection", "up", profile.interface)

    def set_ipv6(self, wanted: bool) -> None:
        """Have IPv6 on the uplink, where the router announces it, or none; returns when eth0 is connected again."""
        self.nmcli("connection", "modify", "uplink", "ipv6.method", IPV6[wanted])
        self.nmcli("connection", "up", "uplink")

    def nmcli(self, *arguments: str, user: str | None = None, check: bool = True) -> Result:
        """Run nmcli, by default as root."""
        return self.run(["nmcli", *arguments], user=user, check=check)

    def device_states(self) -> dict[str, str]:
        """NetworkManager's word for the state of each device (`connected`, `unavailable` ...); empty without it."""
        listed = self.nmcli("-t", "-f", "DEVICE,STATE", "device", check=False)
        return dict(line.split(":", 1) for line in listed.stdout.splitlines()) if not listed.status else {}

    def wait_state(self, device: str, state: str, timeout: float = 60.0) -> None:
        """Wait until NetworkManager says this of a device."""
        wait_for(
            lambda: self.device_states().get(device) == state, timeout, f"{self.name}'s {device} to be {state}", 0.2
        )

    def wait_connected(self, *devices: str, timeout: float = 120.0) -> None:
        """Wait until these devices are connected (without any: eth0 and wg0)."""
        for device in devices or ("eth0", "wg0"):
            self.wait_state(device, "connected", timeout)

    def connectivity(self, check: bool = False) -> str:
        """NetworkManager's word for the internet: full, limited, portal, none or unknown; `check` asks it to look."""
        return self.nmcli("networking", "connectivity", *(["check"] if check else [])).stdout.strip()

    def move(self, nat: Nat, quick: bool = False) -> None:
        """Carry the laptop to another router; if not `quick`, NetworkManager sees the carrier go before it comes back.

        A quick move is one that NetworkManager hears of only as a blink: it keeps the address and asks for no lease.
        """
        self.unplug()
        if not quick:
            self.wait_state("eth0", "unavailable")
        self.plug(nat)

    def busctl(self, *arguments: str, user: str | None = None, check: bool = True) -> Result:
        """Run busctl on the system bus, by default as root."""
        return self.run(["busctl", "--system", *arguments], user=user, check=check)

    def busctl_user(self, *arguments: str, check: bool = True) -> Result:
        """Run busctl on u's session bus."""
        return self.run(["busctl", "--user", *arguments], user=USER, check=check)

    def close(self) -> None:
        """End everything that ran in the laptop's mounts, too what its buses activated."""
        own = Path(f"/proc/{self._anchor.pid}/ns/mnt").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns/mnt").readlink() == own and int(process.name) != self._anchor.pid:
                    os.kill(int(process.name), signal.SIGTERM)
            except (FileNotFoundError, ProcessLookupError):
                continue
        self._anchor.kill()
        self._anchor.wait()
        super().close()


def _file_of(profile: WireGuardProfile) -> str:
    return f"{PROFILES}/{profile.interface}.nmconnection"
