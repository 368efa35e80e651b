# SPDX-License-Identifier: GPL-2.0-or-later
"""packaging/live-system: what a running system is told, where systemctl is a stand-in that notes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.image import namespace_prefix
from tests.contract.texts import ROOT

LIVE = ROOT / "packaging" / "live-system"

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
*list-units*)
    echo 'user@1000.service loaded active running User Manager for UID 1000'
    echo 'user@1001.service loaded active running User Manager for UID 1001' ;;
*reload*)
    exit 1 ;;
esac
"""

SCENE = """
mount -t tmpfs tmpfs /run
if [ -n "$BOOTED" ]; then mkdir -p /run/systemd/system; fi
set -e
. "$0"
"$1"
echo lived
"""


LINKS = """
mount -t tmpfs tmpfs /etc/systemd
cd /etc/systemd
for link in user/graphical-session.target.wants/wgsd-nm-agent.service \
    system/sockets.target.wants/wgsd-nm-registry.socket \
    system/timers.target.wants/wgsd-nm-lookup@wg0.timer system/timers.target.wants/another.timer; do
    mkdir -p "${link%/*}"
    ln -s /gone "$link"
done
set -e
. "$0"
switched_off
find user system -mindepth 1
"""


EXTENSIONS = """
mount -t tmpfs tmpfs /usr/local
home=/usr/local/lib/wgsd-nm/gnome-shell shown=/usr/local/share/gnome-shell/extensions
mkdir -p $home/43/us@x $home/45/us@x $shown/other@x /usr/local/bin
set -e
. "$0"
for version in "$@"; do
    printf '#!/bin/sh\\necho GNOME Shell %s\\n' "$version" >/usr/local/bin/gnome-shell
    chmod +x /usr/local/bin/gnome-shell
    choose_extension
    readlink $shown/us@x
done
forget_extension
ls $shown
"""


def told(folder: Path, verb: str, *, booted: bool = True) -> list[str]:
    """What systemctl is called with. Whatever it says to that, nothing fails."""
    calls = folder / "calls"
    calls.write_text("")
    for name, text in (("systemctl", SYSTEMCTL), ("systemd-sysusers", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    own = namespace_prefix() or ["unshare", "--mount"]
    done = subprocess.run(
        [*own, "sh", "-c", SCENE, LIVE, verb],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": f"{folder}:/usr/sbin:/usr/bin", "CALLS": str(calls), "BOOTED": "yes" if booted else ""},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "lived\n", "")
    return calls.read_text().splitlines()


def users(*words: str) -> list[str]:
    """What the managers of both users are told."""
    return [f"--quiet --user --machine={uid}@ {' '.join(words)}" for uid in (1000, 1001)]


LIST = "list-units --plain --no-legend --state=running user@*.service"
NOTICE = [
    "daemon-reload",
    "--quiet reload dbus.service",
    LIST,
    *users("daemon-reload"),
    LIST,
    *users("reload", "dbus.service"),
]
AGENT = "wgsd-nm-agent.service"
REGISTRY = "wgsd-nm-registry-reader.socket wgsd-nm-registry.socket wgsd-nm-registry.service"


def test_files_that_are_new_are_noticed_and_the_agent_is_everybodys(tmp_path: Path) -> None:
    assert told(tmp_path, "installed") == [f"--quiet --global enable {AGENT}", *NOTICE]


def test_what_runs_of_an_earlier_version_starts_anew(tmp_path: Path) -> None:
    restart = f"--quiet try-restart wgsd-nm-helper.service {REGISTRY} wgsd-nm-lookup@*.timer"
    assert told(tmp_path, "upgraded") == [*NOTICE, restart, LIST, *users("try-restart", AGENT)]


def test_nothing_runs_when_files_are_about_to_go(tmp_path: Path) -> None:
    assert told(tmp_path, "leaving") == [
        LIST,
        *users("stop", AGENT),
        "--quiet stop wgsd-nm-registry.socket wgsd-nm-registry-reader.socket wgsd-nm-*.timer wgsd-nm-*.service",
    ]


def test_files_that_have_gone_are_noticed(tmp_path: Path) -> None:
    assert told(tmp_path, "left") == [*NOTICE, "--quiet reset-failed wgsd-nm-*"]


def test_no_link_leads_to_units_that_are_switched_off() -> None:
    own = namespace_prefix() or ["unshare", "--mount"]
    done = subprocess.run([*own, "sh", "-c", LINKS, LIVE], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("system/timers.target.wants\nsystem/timers.target.wants/another.timer\n", "")


def test_gnome_shell_finds_the_extension_of_its_own_form() -> None:
    own = namespace_prefix() or ["unshare", "--mount"]
    command: list[str | Path] = [*own, "sh", "-c", EXTENSIONS, LIVE, "43.9", "44.10", "45.beta", "48.7", "143.1"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin"},
    )
    home = "/usr/local/lib/wgsd-nm/gnome-shell"
    forms = [f"{home}/{form}/us@x" for form in ("43", "43", "45", "45", "45")]
    assert (done.stdout.splitlines(), done.stderr) == ([*forms, "other@x"], "")


@pytest.mark.parametrize("verb", ["installed", "upgraded", "leaving", "left"])
def test_a_system_that_does_not_run_is_told_of_nothing_but_links(tmp_path: Path, verb: str) -> None:
    assert all("able " in call for call in told(tmp_path, verb, booted=False))
