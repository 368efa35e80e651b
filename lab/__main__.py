# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's command line: needs, build, run, demo, installed, shell."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import cache, host, installed, job, wgsd
from lab.disk import ensure as ensure_disk
from lab.errors import LabError
from lab.image import SUITES
from lab.machine import FAST, SYSTEMD
from lab.progress import say

SHELL = ["python3", "-c", "import pty; pty.spawn(['bash', '-i'])"]


def _needs(_: argparse.Namespace) -> int:
    missing = host.missing_packages()
    if missing:
        print(host.install_line(missing))
    return 1 if missing else 0


def _build(options: argparse.Namespace) -> int:
    kinds = (FAST, SYSTEMD) if options.systemd else (FAST,)
    say(f"ready: {cache.ensure(options.suite, *kinds)}")
    return 0


def _run(options: argparse.Namespace) -> int:
    disk = ensure_disk(Path(options.disk)) if options.disk else None
    kind = SYSTEMD if options.systemd or disk else FAST
    files = cache.ensure(options.suite, *(() if disk else (kind,)))
    programs = wgsd.ensure() if options.wgsd else None
    stdin = sys.stdin.fileno() if options.stdin else None
    if options.share:
        share = Path(options.share).resolve()
        share.mkdir(parents=True, exist_ok=True)
        _hand_over(programs, share)
        return job.run(files, kind, options.command, share, options.timeout, stdin, disk)
    with _temporary_share() as share:
        _hand_over(programs, share)
        status = job.run(files, kind, options.command, share, options.timeout, stdin, disk)
        if status and any((share / "out").iterdir()):
            _keep(share / "out")
        return status


def _installed(options: argparse.Namespace) -> int:
    files = cache.ensure(options.suite)
    with _temporary_share() as share:
        return installed.run(options.suite, files, share, options.timeout)


def _hand_over(programs: Path | None, share: Path) -> None:
    if programs:
        wgsd.hand_over(programs, share)


@contextmanager
def _temporary_share() -> Iterator[Path]:
    """A folder that the guest's ordinary user may enter, too."""
    with tempfile.TemporaryDirectory(prefix="lab-share-") as name:
        share = Path(name)
        share.chmod(0o755)
        yield share


def _keep(results: Path) -> None:
    """Keep what a failed job wrote, in place of what the failed job before it wrote."""
    kept = cache.home() / "last-failure"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(results, kept, dirs_exist_ok=True)
    say(f"what the job wrote to /lab/out is kept in {kept}")


def _shell(options: argparse.Namespace) -> int:
    kind = SYSTEMD if options.systemd else FAST
    files = cache.ensure(options.suite, kind)
    size = shutil.get_terminal_size()
    command = ["env", "TERM=linux", f"COLUMNS={size.columns}", f"LINES={size.lines}", *SHELL]
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        with _temporary_share() as share:
            return job.run(files, kind, command, share, options.timeout, stdin=sys.stdin.fileno())
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the guest's Debian (%(default)s)")
    machine.add_argument("--systemd", action="store_true", help="systemd as process 1, with a login at seat0")

    needs = commands.add_parser("needs", help="print the command that installs what this host lacks")
    needs.set_defaults(call=_needs)
    build = commands.add_parser("build", parents=[machine], help="make image and snapshot, if they are not there")
    build.set_defaults(call=_build)
    run = commands.add_parser("run", parents=[machine], help="run a command in a fresh machine, as root in /src")
    run.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="(%(default)s)")
    run.add_argument("--share", metavar="FOLDER", help="what the guest sees as /lab, instead of a temporary folder")
    run.add_argument(
        "--disk", metavar="FILE", help="boot, and keep what changes in this image, which is made if needed"
    )
    run.add_argument("--wgsd", action="store_true", help="put CoreDNS with wgsd, and wgsd-client, into /lab/wgsd")
    run.add_argument("--stdin", action="store_true", help="pass on to the command what comes on standard input")
    run.add_argument("command", nargs="+", metavar="COMMAND")
    run.set_defaults(call=_run)
    demo = commands.add_parser("demo", parents=[machine], help="two laptops find each other, told step by step")
    demo.set_defaults(
        call=_run, command=["python3", "-m", "lab.story"], share=None, disk=None, timeout=600.0, wgsd=False,
        stdin=False,
    )  # fmt: skip
    booted = commands.add_parser("installed", help="the package on a machine that is switched off and on again")
    booted.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the machine's Debian (%(default)s)")
    booted.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS", help="for each boot (%(default)s)")
    booted.set_defaults(call=_installed)
    shell = commands.add_parser("shell", parents=[machine], help="look around in a fresh machine")
    shell.set_defaults(call=_shell, timeout=86400.0)
    return parser


def main() -> int:
    """Do what the command line says; returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _parser().parse_args()
    try:
        status: int = options.call(options)
    except LabError as error:
        say(str(error))
        return job.MACHINE_DIED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


if __name__ == "__main__":
    sys.exit(main())
