"""The dependencies of the house: which package may import which, which package owns a library, and where torch may be.

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

# importer → imported; anyone may import errors, and a package itself.
DEPENDENCIES = {
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
PACKAGES_OF_DESIGN = {*DEPENDENCIES, "cli"}
# A package that is not a package of its own name.
GROWN = {
    "nllgen.cli.common": "cli",
    "nllgen.cli.machine": "cli",
    "nllgen.cli.measure": "cli",
    "nllgen.cli.options": "cli",
    "nllgen.__main__": "cli",
    "nllgen.assets": "assets",
    "nllgen.assets.sources": "assets",
}
# Narrower than the dependency: fetching and building need a way to write files, not results.
ONLY = {("assets", "store"): "nllgen.storage.atomic", ("image", "store"): "nllgen.storage.atomic"}
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
    """The package of a module of the project; its first name below nllgen where it has no other."""
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
            # `from nllgen import commands` imports nllgen.cli.common, `from nllgen.models import RealNVP` nllgen.models
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name if name in MODULES else base) for name in names)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


def problem(package: str, imported: str) -> str | None:
    """What is wrong with an import, None where nothing is."""
    top = imported.split(".")[0]
    if top in OWNERS and package not in OWNERS[top]:
        return f"{top} belongs to {', '.join(sorted(OWNERS[top]))}"
    if top not in PACKAGES:
        return None
    target = room_of(imported)
    if target in (package, "errors", "nllgen") or (package == "cli" and target in PACKAGES_OF_DESIGN):
        return None
    if target not in DEPENDENCIES.get(package, set()):
        return f"no dependency {package} → {target}"
    only = ONLY.get((package, target))
    return f"{package} may import {only} only" if only and imported != only else None


def wrong(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Every wrong import of a module, with its line."""
    package = room_of(module)
    found = [f"{module}: no package {package} in the design"] if package not in PACKAGES_OF_DESIGN else []
    for line, imported in imports_of(module, source, is_package=is_package):
        if (what := problem(package, imported)) is not None:
            found.append(f"{module}:{line}: imports {imported}: {what}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    path = MODULES[module]
    found = wrong(module, path.read_text("utf-8"), is_package=path.name == "__init__.py")
    assert not found, "\n" + "\n".join(found)


def test_every_module_was_read() -> None:
    assert {"nllgen.cli", "nllgen.study", "nllgen.study.load", "nllgen_analysis.figures.style"} <= set(MODULES)
    assert NO_TORCH <= {room_of(module) for module in MODULES} <= PACKAGES_OF_DESIGN


@pytest.mark.parametrize(
    ("module", "source", "what"),
    [
        ("nllgen.storage.bad", "import torch", "torch belongs to"),
        ("nllgen.study.bad", "from nllgen.storage.atomic import publish", "no dependency study → store"),
        ("nllgen.study.bad", "def f():\n    import h5py", "h5py belongs to store"),
        (
            "nllgen.models.bad",
            "if TYPE_CHECKING:\n    from nllgen.metrics import exact",
            "no dependency flow → metrics",
        ),
        (
            "nllgen.launch.bad",
            "import importlib\nimportlib.import_module('nllgen.worker')",
            "no dependency launch → worker",
        ),
        ("nllgen.launch.bad", "__import__('torch')", "torch belongs to"),
        ("nllgen.paradigms.bad", "from ..train import loop", "no dependency paradigms → train"),
        ("nllgen.paradigms.bad", "from nllgen import train", "no dependency paradigms → train"),
        ("nllgen.worker.bad", "from nllgen import cli", "no dependency worker → cli"),
        ("nllgen.worker.bad", "import nllgen.cli.common", "no dependency worker → cli"),
        ("nllgen.assets.sources", "from nllgen.storage import result", "nllgen.storage.atomic only"),
        ("nllgen.container.bad", "from nllgen.storage.schema import SCHEMA", "nllgen.storage.atomic only"),
        ("nllgen.data.bad", "from torchvision import datasets", "torchvision belongs to torchvision_ops"),
        ("nllgen_analysis.bad", "from nllgen.launch.status import status", "no dependency analysis → launch"),
        ("nllgen_analysis.figures.bad", "import yaml", "yaml belongs to study"),
        ("nllgen.attic.bad", "", "no package attic"),
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
        ("nllgen.cli.common", "def f():\n    from nllgen.worker.setup import enter\n    import click"),
        ("nllgen.assets", "from nllgen.storage.atomic import write_bytes\nfrom nllgen.assets.sources import read_file"),
        ("nllgen.train.good", "from . import state\nfrom .state import TrainState\nimport torch.nn"),
        ("nllgen_analysis.figures.good", "from ..frames import Frames\nfrom . import style"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert wrong(module, source) == []


@pytest.mark.parametrize("module", ["nllgen.cli", "nllgen.cli.machine", "nllgen.cli.measure", "nllgen.cli.options"])
def test_a_command_imports_what_it_needs_when_it_runs(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    found = {name for _, name in imports_of(module, ast.unparse(top)) if name not in sys.stdlib_module_names}
    commands = {"nllgen.cli.machine", "nllgen.cli.measure", "nllgen.cli.options"}
    assert found <= {"__future__", "collections.abc", "click", "nllgen.errors", *commands}


@pytest.mark.parametrize("package", sorted(NO_TORCH & {room_of(module) for module in MODULES}))
def test_a_room_without_torch_reaches_none(package: str) -> None:
    """Importing all of a package, and so all that it imports, in a process of its own."""
    modules = [module for module in MODULES if room_of(module) == package and not module.endswith("__main__")]
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
print(*sorted({{name.split(".")[0] for name in sys.modules}} & {{"torch", "torchvision", "pytorch_fid"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
