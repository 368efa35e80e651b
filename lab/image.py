# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's disk: a Debian root of our own, as an ext4 image, with its kernel and initial ramdisk.

Run as `python3 -m lab.image SUITE FOLDER` by root, or by the root of a user namespace; `namespace_prefix()` is the
command that makes one. It writes FOLDER/root.img, FOLDER/initrd.gz and FOLDER/vmlinux.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from lab import host, kernel
from lab.errors import LabError
from lab.progress import say, step

REPOSITORY = Path(__file__).resolve().parent.parent
GUEST = REPOSITORY / "lab" / "guest"
SUITES = ("bookworm", "trixie")
IMAGE_SIZE = "2G"

PACKAGES = (
    "avahi-utils", "bash-completion", "bind9-dnsutils", "conntrack", "dbus", "dbus-user-session", "dnsmasq-base",
    "dnsperf", "gettext", "iproute2", "iputils-ping", "kmod", "knot", "knot-dnsutils", "libpam-systemd",
    "linux-image-amd64", "make", "man-db", "network-manager", "nftables", "nsd", "polkitd", "procps", "python3",
    "systemd", "systemd-resolved", "systemd-sysv", "tcpdump", "udev", "wireguard-tools",
)  # fmt: skip
INSTALLED_FILES = {
    "labinit": "usr/local/sbin/labinit",
    "labjob": "usr/local/sbin/labjob",
    "lab.service": "etc/systemd/system/lab.service",
    "seat-session.service": "etc/systemd/system/seat-session.service",
}
NOT_KEPT = ("boot/initrd*", "var/lib/apt/lists/*_*", "var/cache/apt/*.bin", "var/cache/apt/archives/*.deb")
MANUAL_EXCLUDED = "etc/dpkg/dpkg.cfg.d/99mmdebstrap"
"""What has dpkg leave manual pages out; of packages that are installed in the guest they are wanted."""
INITRD_MODULES = ("virtio_pci", "virtio_blk", "ext4", "9pnet_virtio", "9p", "overlay", "virtio_console")
INITRD_APPLETS = ("sh", "mount", "umount", "insmod", "switch_root", "mkdir", "sleep", "cat")
UNUSED = (
    "sound",
    *(f"drivers/{name}" for name in (
        "accel", "ata", "comedi", "edac", "firmware", "gpu", "hwmon", "iio", "infiniband", "input/touchscreen",
        "iommu", "isdn", "md", "media", "misc", "mmc", "mtd", "nvme", "platform", "power", "scsi", "staging",
        "target", "usb", "video",
    )),
    *(f"drivers/net/{name}" for name in (
        "arcnet", "can", "dsa", "ethernet", "fddi", "hamradio", "phy", "usb", "wan", "wireless",
    )),
    *(f"fs/{name}" for name in (
        "afs", "bcachefs", "btrfs", "ceph", "cifs", "coda", "f2fs", "gfs2", "jfs", "nfs", "nfsd", "ntfs3", "ocfs2",
        "reiserfs", "smb", "ubifs", "udf", "xfs",
    )),
    *(f"net/{name}" for name in (
        "atm", "ax25", "batman-adv", "bluetooth", "can", "ceph", "dccp", "nfc", "rds", "sctp", "sunrpc", "tipc",
    )),
)  # fmt: skip


def namespace_prefix() -> list[str]:
    """The start of a command that runs the rest as root: nothing for root, else a user namespace with sub-ids."""
    if host.is_root():
        return []
    return [
        host.program("unshare"), "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork",
        "--kill-child", "--mount-proc",
    ]  # fmt: skip


def python_requirements() -> list[str]:
    """The project's own pins: its dependencies and those of the extra named `lab`."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["lab"]]


def _run(*command: str | Path) -> str:
    """Run one step's command; raises LabError with what it said if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{command[0]} failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def _debootstrap(suite: str, root: Path) -> None:
    _run(
        host.program("mmdebstrap"), "--quiet", "--mode=root", "--variant=apt",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")),
        f"--include={','.join(PACKAGES)}", suite, root, host.debian_mirror(),
    )  # fmt: skip


def _kernel_release(root: Path) -> str:
    return next((root / "lib/modules").iterdir()).name


def _trim(root: Path) -> None:
    modules = root / "lib/modules" / _kernel_release(root) / "kernel"
    for name in UNUSED:
        shutil.rmtree(modules / name, ignore_errors=True)
    for pattern in (*NOT_KEPT, MANUAL_EXCLUDED):
        for path in root.glob(pattern):
            path.unlink()
    _run(host.program("depmod"), "-b", root, _kernel_release(root))


def _install_python_packages(root: Path) -> None:
    library = next((root / "usr/lib").glob("python3.[0-9]*")).name
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check",
        "--root-user-action=ignore", "--target", root / "usr/local/lib" / library / "dist-packages",
        "--python-version", library.removeprefix("python"), "--only-binary", ":all:", *python_requirements(),
    )  # fmt: skip


def _configure(root: Path) -> None:
    for name, target in INSTALLED_FILES.items():
        shutil.copy(GUEST / name, root / target)
    script = (GUEST / "configure.sh").read_text()
    _run(host.program("chroot"), root, "/usr/bin/env", "PATH=/usr/sbin:/usr/bin", "bash", "-c", script)


def _write_initrd(root: Path, out: Path) -> None:
    """A ramdisk of busybox and the modules that the root needs, in the order of their dependencies."""
    show = _run(
        host.program("modprobe"), "-d", root, "-S", _kernel_release(root), "--show-depends", "--all", *INITRD_MODULES
    )
    wanted = dict.fromkeys(Path(line.split()[1]) for line in show.splitlines() if line.startswith("insmod "))
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for folder in ("bin", "modules", "proc", "sys", "dev", "image", "changes", "newroot"):
            (tree / folder).mkdir()
        shutil.copy(host.program("busybox"), tree / "bin/busybox")
        for applet in INITRD_APPLETS:
            (tree / "bin" / applet).symlink_to("busybox")
        order = []
        for module in wanted:
            data = module.read_bytes()
            order.append(module.name.removesuffix(".xz"))
            (tree / "modules" / order[-1]).write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)
        (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
        shutil.copy(GUEST / "initrd-init", tree / "init")
        names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
        archive = subprocess.run(
            [host.program("cpio"), "--create", "--format=newc", "--quiet"],
            cwd=tree, input=names.encode(), stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
    out.write_bytes(gzip.compress(archive, compresslevel=1))


def _write_image(root: Path, out: Path) -> None:
    _run(
        host.program("mkfs.ext4"), "-q", "-F", "-O", "^has_journal,^metadata_csum",
        "-E", "lazy_itable_init=0,nodiscard", "-m0", "-d", root, out, IMAGE_SIZE,
    )  # fmt: skip


def make(suite: str, folder: Path) -> None:
    """Make the three files of a suite in an empty folder; the tree they are made from is gone afterwards."""
    root = folder / "root"
    try:
        with step(f"Debian {suite} from {host.debian_mirror()}"):
            _debootstrap(suite, root)
        with step("Python packages of pyproject.toml"):
            _install_python_packages(root)
        with step("configuration of the guest"):
            _trim(root)
            _configure(root)
        with step("kernel, initial ramdisk and disk image"):
            image = root / f"boot/vmlinuz-{_kernel_release(root)}"
            (folder / "vmlinux").write_bytes(kernel.extract(image.read_bytes()))
            _write_initrd(root, folder / "initrd.gz")
            _write_image(root, folder / "root.img")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    """Make the files in a folder that is emptied first (a build that was interrupted may have left some)."""
    suite, folder = sys.argv[1], Path(sys.argv[2])
    os.umask(0o022)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        make(suite, folder)
    except LabError as error:
        say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
