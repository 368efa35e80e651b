# SPDX-License-Identifier: GPL-2.0-or-later
"""What importing the library asks for and leaves behind, each time in a Python of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wgsd_nm.bus.backend import default_address


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "python",
    [
        "",
        "del typing.no_type_check_decorator",  # Python 3.15
        "typing.no_type_check_decorator = lambda _: warnings.warn('gone soon', DeprecationWarning)",  # Python 3.13
    ],
)
def test_import_on_every_python(python: str) -> None:
    program = f"""if True:
        import typing, warnings
        if hasattr(typing, "no_type_check_decorator"):
            {python or "pass"}
        before = getattr(typing, "no_type_check_decorator", None)
        import wgsd_nm.bus.connection
        assert getattr(typing, "no_type_check_decorator", None) is before, "typing is not as it was"
    """
    done = run(program)
    assert done.returncode == 0, done.stderr


def test_import_of_the_library_is_lean() -> None:
    done = run(
        "import sys, wgsd_nm.bus.connection\n"
        "heavy = ('gi', 'dbus_next.glib.', 'importlib.metadata', 'urllib.request')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_another_version_of_the_library_fails_loudly() -> None:
    done = run(
        "import sys, types\n"
        "other = sys.modules['dbus_next.__version__'] = types.ModuleType('dbus_next.__version__')\n"
        "other.__version__ = '0.2.4'\n"
        "import wgsd_nm.bus.backend"
    )
    assert done.returncode == 1
    assert "ImportError: wgsd-nm needs dbus-next 0.2.3 exactly, not 0.2.4" in done.stderr


def test_other_insides_of_the_library_fail_loudly() -> None:
    done = run(
        "import wgsd_nm.bus.backend as backend\ndel backend._MessageWriter.schedule_write\nbackend._assert_library()"
    )
    assert done.returncode == 1
    assert "lacks _MessageWriter.schedule_write" in done.stderr


def test_where_the_buses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/s")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/u")
    assert default_address(system=True) == "unix:path=/s"
    assert default_address(system=False) == "unix:path=/u"
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000,a")
    assert default_address(system=True) == "unix:path=/run/dbus/system_bus_socket"
    assert default_address(system=False) == "unix:path=/run/user/1000%2Ca/bus"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_address(system=False).startswith("unix:path=/run/user/")
