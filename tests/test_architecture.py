"""The arrows of the house: which room may import which, which room owns a library, and where torch may be.

Read from the source by ast, so that an import inside a function or under TYPE_CHECKING counts as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nllgen_analysis
import pytest

import nllgen

PACKAGES = {"nllgen": Path(nllgen.__file__).parent, "nllgen_analysis": Path(nllgen_analysis.__file__).parent}

# importer → imported; anyone may import errors, and a room itself.
ARROWS = {
    "worker": {"train", "paradigms", "metrics", "data", "flow", "store", "study", "assets"},
    "train": {"paradigms", "data", "study"},
    "paradigms": {"flow", "study"},
    "metrics": {"flow", "study", "assets", "torchvision_ops"},
    "data": {"flow", "study", "assets", "torchvision_ops"},
    "flow": {"study"},
    "launch": {"study", "store", "image"},
    "image": {"study", "store"},
    "analysis": {"store", "study"},
    "store": {"study"},
    "assets": {"store"},
    "study": set(),
    "torchvision_ops": set(),
    "errors": set(),
    "nllgen": set(),
}
ROOMS = {*ARROWS, "cli"}
# A room that is not a package of its own name.
GROWN = {
    "nllgen.doors": "cli",
    "nllgen.cli_machine": "cli",
    "nllgen.cli_measure": "cli",
    "nllgen.cli_options": "cli",
    "nllgen.__main__": "cli",
    "nllgen.assets": "assets",
    "nllgen.asset_sources": "assets",
}
# Narrower than the arrow: fetching and building need a way to write files, not results.
ONLY = {("assets", "store"): "nllgen.store.atomic", ("image", "store"): "nllgen.store.atomic"}
OWNERS = {
    "yaml": {"study"},
    "h5py": {"store"},
    "submitit": {"launch"},
    "matplotlib": {"analysis"},
    "seaborn": {"analysis"},
    "pandas": {"analysis"},
    "scipy": {"analysis"},
    "jinja2": {"analysis"},
    "click": {"cli"},
    "torchvision": {"torchvision_ops"},
    "pytorch_fid": {"metrics"},
    "zuko": {"flow"},
    "torch": {"worker", "train", "paradigms", "metrics", "data", "flow", "torchvision_ops"},
}
NO_TORCH = {"study", "store", "launch", "image", "assets", "cli", "analysis"}


def module_files() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


MODULES = dict(module_files())


def room_of(module: str) -> str:
    """The room of a module of the project; its first name below nllgen where it has no other."""
    if module.split(".")[0] == "nllgen_analysis":
        return "analysis"
    top = ".".join(module.split(".")[:2])
    return GROWN.get(top, module.split(".")[1] if "." in module else "nllgen")


def imports_of(module: str, source: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, module) of every import: statements anywhere, and import_module or __import__ of a literal."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level + is_package or None]
                base = ".".join([*above, base] if base else above)
            # `from nllgen import doors` imports nllgen.doors, `from nllgen.flow import RealNVP` nllgen.flow
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name if name in MODULES else base) for name in names)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


def problem(room: str, imported: str) -> str | None:
    """What is wrong with an import, None where nothing is."""
    top = imported.split(".")[0]
    if top in OWNERS and room not in OWNERS[top]:
        return f"{top} belongs to {', '.join(sorted(OWNERS[top]))}"
    if top not in PACKAGES:
        return None
    target = room_of(imported)
    if target in (room, "errors", "nllgen") or (room == "cli" and target in ROOMS):
        return None
    if target not in ARROWS.get(room, set()):
        return f"no arrow {room} → {target}"
    only = ONLY.get((room, target))
    return f"{room} may import {only} only" if only and imported != only else None


def wrong(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Every wrong import of a module, with its line."""
    room = room_of(module)
    found = [f"{module}: no room {room} in the design"] if room not in ROOMS else []
    for line, imported in imports_of(module, source, is_package=is_package):
        if (what := problem(room, imported)) is not None:
            found.append(f"{module}:{line}: imports {imported}: {what}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    path = MODULES[module]
    found = wrong(module, path.read_text("utf-8"), is_package=path.name == "__init__.py")
    assert not found, "\n" + "\n".join(found)


def test_every_module_was_read() -> None:
    assert {"nllgen.cli", "nllgen.study", "nllgen.study.grid", "nllgen_analysis.figures.style"} <= set(MODULES)
    assert NO_TORCH <= {room_of(module) for module in MODULES} <= ROOMS


@pytest.mark.parametrize(
    ("module", "source", "what"),
    [
        ("nllgen.store.bad", "import torch", "torch belongs to"),
        ("nllgen.study.bad", "from nllgen.store.atomic import publish", "no arrow study → store"),
        ("nllgen.study.bad", "def f():\n    import h5py", "h5py belongs to store"),
        ("nllgen.flow.bad", "if TYPE_CHECKING:\n    from nllgen.metrics import exact", "no arrow flow → metrics"),
        ("nllgen.launch.bad", "import importlib\nimportlib.import_module('nllgen.worker')", "no arrow launch → worker"),
        ("nllgen.launch.bad", "__import__('torch')", "torch belongs to"),
        ("nllgen.paradigms.bad", "from ..train import loop", "no arrow paradigms → train"),
        ("nllgen.paradigms.bad", "from nllgen import train", "no arrow paradigms → train"),
        ("nllgen.worker.bad", "from nllgen import cli", "no arrow worker → cli"),
        ("nllgen.worker.bad", "import nllgen.doors", "no arrow worker → cli"),
        ("nllgen.asset_sources", "from nllgen.store import result", "nllgen.store.atomic only"),
        ("nllgen.image.bad", "from nllgen.store.layout import SCHEMA", "nllgen.store.atomic only"),
        ("nllgen.data.bad", "from torchvision import datasets", "torchvision belongs to torchvision_ops"),
        ("nllgen_analysis.bad", "from nllgen.launch.status import status", "no arrow analysis → launch"),
        ("nllgen_analysis.figures.bad", "import yaml", "yaml belongs to study"),
        ("nllgen.attic.bad", "", "no room attic"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, what: str) -> None:
    found = wrong(module, source)
    assert len(found) == 1
    assert what in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nllgen.worker.good", "from nllgen.train.loop import train\nfrom nllgen.errors import NllgenError"),
        ("nllgen.doors", "def f():\n    from nllgen.worker.entry import enter\n    import click"),
        ("nllgen.assets", "from nllgen.store.atomic import write_bytes\nfrom nllgen.asset_sources import read_file"),
        ("nllgen.train.good", "from . import state\nfrom .state import TrainState\nimport torch.nn"),
        ("nllgen_analysis.figures.good", "from ..frames import Frames\nfrom . import style"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert wrong(module, source) == []


@pytest.mark.parametrize("module", ["nllgen.cli", "nllgen.cli_machine", "nllgen.cli_measure", "nllgen.cli_options"])
def test_a_door_imports_when_it_is_opened(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    found = {name for _, name in imports_of(module, ast.unparse(top)) if name not in sys.stdlib_module_names}
    doors = {"nllgen.cli_machine", "nllgen.cli_measure", "nllgen.cli_options"}
    assert found <= {"__future__", "collections.abc", "click", "nllgen.errors", *doors}


@pytest.mark.parametrize("room", sorted(NO_TORCH & {room_of(module) for module in MODULES}))
def test_a_room_without_torch_reaches_none(room: str) -> None:
    """Importing all of a room, and so all that it imports, in a process of its own."""
    modules = [module for module in MODULES if room_of(module) == room and not module.endswith("__main__")]
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
print(*sorted({{name.split(".")[0] for name in sys.modules}} & {{"torch", "torchvision", "pytorch_fid"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
