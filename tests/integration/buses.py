# SPDX-License-Identifier: GPL-2.0-or-later
"""A private message bus: a real dbus-daemon in a temporary directory. It knows nothing of who talks on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape, quoteattr

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{services}</servicedir>
  <policy context="default">
{policy}
  </policy>
{includes}
{limits}
</busconfig>
"""

_SESSION_POLICY = """\
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>"""

_SYSTEM_POLICY = """\
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>"""


class PrivateBus:
    """A dbus-daemon for as long as the `with` block lasts; `address` stays the same over `stop()` and `start()`.

    The default policy is the session bus's: everybody may do everything. With `system=True` it is the system bus's
    (system.conf of dbus): nobody owns a name and nobody is called, but for the names in `names`, which anybody may own
    and call, and for what the policy files in `includes` grant (a path such as data/dbus/system.d/NAME.conf).
    `services` are the activatable ones: bus name -> command line. `limits` are <limit> elements of the configuration.
    """

    def __init__(
        self,
        *,
        system: bool = False,
        names: Iterable[str] = (),
        includes: Iterable[Path] = (),
        services: Mapping[str, Sequence[str]] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.system = system
        self.directory = Path(tempfile.mkdtemp(prefix="bus-"))
        self.address = f"unix:path={self.directory / 'socket'}"
        self._daemon: subprocess.Popen[bytes] | None = None
        directory = self.directory / "services"
        directory.mkdir()
        for name, command in (services or {}).items():
            words = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in command)
            (directory / f"{name}.service").write_text(f"[D-BUS Service]\nName={name}\nExec={words}\n")
        policy = [_SYSTEM_POLICY if system else _SESSION_POLICY] + [
            f"    <allow own={quoteattr(name)}/>\n    <allow send_destination={quoteattr(name)}/>" for name in names
        ]
        (self.directory / "bus.conf").write_text(
            _CONFIG.format(
                socket=escape(str(self.directory / "socket")),
                services=escape(str(directory)),
                policy="\n".join(policy),
                includes="\n".join(f"  <include>{escape(str(path.resolve()))}</include>" for path in includes),
                limits="\n".join(f'  <limit name="{name}">{value}</limit>' for name, value in (limits or {}).items()),
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a child process to this bus, to be added to its environment."""
        return {"DBUS_SYSTEM_BUS_ADDRESS" if self.system else "DBUS_SESSION_BUS_ADDRESS": self.address}

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._daemon is not None, "the bus is not running"
        return self._daemon.pid

    def start(self) -> None:
        """Returns when the bus can be connected to."""
        (self.directory / "socket").unlink(missing_ok=True)
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as ready:
            try:
                self._daemon = subprocess.Popen(
                    [
                        "dbus-daemon",
                        "--nofork",
                        "--nopidfile",
                        "--nosyslog",
                        f"--config-file={self.directory / 'bus.conf'}",
                        f"--print-address={writing}",
                    ],
                    pass_fds=[writing],
                )
            finally:
                os.close(writing)
            if not ready.readline():
                raise RuntimeError(f"dbus-daemon ended at once with status {self._daemon.wait()}")

    def stop(self) -> None:
        """Kills the daemon: every connection is lost at once."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def pause(self) -> None:
        """The daemon hangs: it keeps its connections and reads nothing. Returns when it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        """The daemon goes on where it was paused."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.directory)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory)
