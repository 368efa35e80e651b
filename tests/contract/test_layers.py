# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the house: who may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "wgsd_nm"
MODULES = sorted(PACKAGE.rglob("*.py"))

# For each part: the parts of ours, and the packages of others, that it may import; the most exact name counts.
RULES: dict[str, set[str]] = {
    "core": {"core"},
    "core.dnsbytes": {"core", "dns"},
    "core.dnssd": {"core", "dns"},
    "bus": {"bus", "core"},
    "bus.backend": {"bus", "core", "dbus_next"},
    "wireguard": {"core", "wireguard", "wireguard_messages", "pyroute2"},
    "wireguard_messages": {"core"},
    "agent": {"agent", "bus", "core"},
    "agent.exchange": {"agent", "core", "dns"},
    "agent.resolver": {"agent", "core", "dns"},
    "helper": {"helper", "bus", "core.model", "core.errors", "wireguard"},
    "registry": {"registry", "core"},
    "registry.reader": {"registry", "core", "wireguard"},
    "registry.config": {"registry", "core", "dns"},
    "registry.datagrams": {"registry", "core", "dns"},
    "registry.notify": {"registry", "core", "dns"},
    "registry.query": {"registry", "core", "dns"},
    "registry.records": {"registry", "core", "dns"},
    "registry.responder": {"registry", "core", "dns"},
    "registry.signing": {"registry", "core", "dns"},
    "registry.streams": {"registry", "core", "dns"},
    "registry.transfer": {"registry", "core", "dns"},
    "registry.zone": {"registry", "core", "dns"},
    "cli": {"cli", "agent.configfile", "agent.resolver", "bus", "core", "wireguard"},
}


def part(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__").removesuffix(".__main__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports what"
            if node.module == "wgsd_nm":
                yield from (f"wgsd_nm.{alias.name}" for alias in node.names)
            elif node.module is not None and node.module.startswith("wgsd_nm."):
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                yield from (name if is_module(name) else str(node.module) for name in names)
            else:
                yield str(node.module)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def allowed(own: str) -> set[str]:
    while own not in RULES:
        own = own.rpartition(".")[0]
    return RULES[own]


@pytest.mark.parametrize("path", [m for m in MODULES if part(m) not in ("", "__init__")], ids=part)
def test_imports_only_what_its_layer_may(path: Path) -> None:
    own = part(path)
    for name in imports(path):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or name in ("wgsd_nm.__version__", "wgsd_nm"):
            continue
        target = name.removeprefix("wgsd_nm.")
        assert any(target == rule or target.startswith(rule + ".") for rule in allowed(own)), f"{own} imports {name}"


def test_core_asks_neither_the_clock_nor_chance_nor_the_outside() -> None:
    impure = {"asyncio", "os", "random", "secrets", "selectors", "socket", "subprocess", "threading", "time"}
    for path in (PACKAGE / "core").glob("*.py"):
        assert not impure.intersection(name.partition(".")[0] for name in imports(path)), path.name


@pytest.mark.parametrize(
    ("program", "foreign"),
    [
        ("wgsd_nm.helper.__main__", ("dns.", "wgsd_nm.agent", "wgsd_nm.registry")),
        ("wgsd_nm.registry.reader", ("dns.", "asyncio.", "wgsd_nm.agent", "wgsd_nm.bus", "wgsd_nm.registry.config")),
    ],
)
def test_no_privileged_process_loads_dns_code(program: str, foreign: tuple[str, ...]) -> None:
    script = f"import sys, {program}; print([name for name in sys.modules if name.startswith({foreign!r})])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_each_file_names_its_licence() -> None:
    files = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "lab").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    files += [path for path in (ROOT / "data").rglob("*") if path.is_file()]
    for path in files:
        assert "SPDX-License-Identifier: GPL-2.0-or-later" in path.read_text()[:300], path
