"""The dependencies of the packages: who may import whom, who owns a library, and where torch may be.

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

# importer → imported; anyone may import errors, and a package itself. The command line imports all.
DEPENDENCIES = {
    "worker": {"train", "paradigms", "metrics", "data", "models", "storage", "study", "assets"},
    "train": {"paradigms", "data", "study"},
    "paradigms": {"models", "study"},
    "metrics": {"models", "study", "torchvision_ops"},
    "data": {"models", "study", "torchvision_ops"},
    "models": {"study"},
    "launch": {"planning", "storage", "study", "container"},
    "doctor": {"launch", "storage", "study", "container", "assets"},
    "planning": {"storage", "study"},
    "container": {"study", "storage"},
    "analysis": {"storage", "study"},
    "storage": {"study"},
    "assets": {"storage", "study"},
    "study": set(),
    "torchvision_ops": set(),
    "errors": set(),
    "nllgen": set(),
}
NAMED = {*DEPENDENCIES, "cli"}
# Narrower than the dependency: (importer, imported) → modules.
ONLY = {
    ("assets", "storage"): {"nllgen.storage.atomic"},  # fetching needs a way to write files, not results
    ("assets", "study"): {
        "nllgen.study.image_sets",  # the sets that can be fetched
        "nllgen.study.pretrained",  # the truths that ship
        "nllgen.study.untrusted_files",
        "nllgen.study.user_directories",  # its own directory
    },
    ("container", "storage"): {"nllgen.storage.atomic"},  # building as well
    # the doctor tries what publishing needs, and writes a profile
    ("doctor", "storage"): {"nllgen.storage.atomic", "nllgen.storage.capabilities", "nllgen.storage.ownership"},
}
OWNERS = {
    "yaml": {"study"},
    "PIL": {"study"},
    "h5py": {"storage"},
    "tensorboardX": {"storage"},
    "submitit": {"launch"},
    "matplotlib": {"analysis"},
    "seaborn": {"analysis"},
    "pandas": {"analysis"},
    "scipy": {"analysis"},
    "jinja2": {"analysis"},
    "click": {"cli"},
    "cloup": {"cli"},
    "rich": {"cli"},
    "torchvision": {"torchvision_ops"},
    "pytorch_fid": {"metrics"},
    "zuko": {"models"},
    "torch": {"worker", "train", "paradigms", "metrics", "data", "models", "torchvision_ops"},
}
NO_TORCH = {"study", "planning", "storage", "launch", "doctor", "container", "assets", "cli", "analysis"}
# The programs of Slurm, and the one package that calls them.
SLURM_PROGRAMS = {"sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr"}


def is_package(path: Path) -> bool:
    return path.name == "__init__.py"


def module_files() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


MODULES = dict(module_files())


def package_of(module: str) -> str:
    """The package of a module of the project; its first name below nllgen where it has no other."""
    if module.split(".")[0] == "nllgen_analysis":
        return "analysis"
    name = module.split(".")[1] if "." in module else "nllgen"
    return "cli" if name == "__main__" else name


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
            # `from nllgen import cli` imports nllgen.cli, `from nllgen.models import RealNVP` nllgen.models
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
    target = package_of(imported)
    if target in (package, "errors", "nllgen") or (package == "cli" and target in NAMED):
        return None
    if target not in DEPENDENCIES.get(package, set()):
        return f"no dependency {package} → {target}"
    only = ONLY.get((package, target), {imported})
    return None if imported in only else f"{package} may import {', '.join(sorted(only))} only"


def wrong(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Every wrong import of a module, with its line."""
    package = package_of(module)
    found = [f"{module}: no package {package} in the design"] if package not in NAMED else []
    for line, imported in imports_of(module, source, is_package=is_package):
        if (what := problem(package, imported)) is not None:
            found.append(f"{module}:{line}: imports {imported}: {what}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_dependencies(module: str) -> None:
    path = MODULES[module]
    found = wrong(module, path.read_text("utf-8"), is_package=is_package(path))
    assert not found, "\n" + "\n".join(found)


def test_every_module_was_read() -> None:
    assert {"nllgen.cli", "nllgen.study", "nllgen.study.load", "nllgen_analysis.figures.style"} <= set(MODULES)
    assert NO_TORCH <= {package_of(module) for module in MODULES} <= NAMED


@pytest.mark.parametrize(
    ("module", "source", "what"),
    [
        ("nllgen.storage.bad", "import torch", "torch belongs to"),
        ("nllgen.study.bad", "from nllgen.storage.atomic import publish", "no dependency study → storage"),
        ("nllgen.study.bad", "def f():\n    import h5py", "h5py belongs to storage"),
        (
            "nllgen.models.bad",
            "if TYPE_CHECKING:\n    from nllgen.metrics import exact",
            "no dependency models → metrics",
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
        ("nllgen.worker.bad", "import nllgen.cli.options", "no dependency worker → cli"),
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
        ("nllgen.cli.options", "def f():\n    from nllgen.worker.setup import enter\n    import click"),
        ("nllgen.assets", "from nllgen.storage.atomic import write_bytes\nfrom nllgen.assets.sources import read_file"),
        ("nllgen.train.good", "from . import state\nfrom .state import TrainState\nimport torch.nn"),
        ("nllgen_analysis.figures.good", "from ..frames import Frames\nfrom . import style"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert wrong(module, source) == []


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_modules: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        open_modules.append(module)
        for imported in edges[module]:
            if imported not in order:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in open_modules:
                lowest[module] = min(lowest[module], order[imported])
        if lowest[module] == order[module]:
            at = open_modules.index(module)
            components.append(sorted(open_modules[at:]))
            del open_modules[at:]

    for module in edges:
        if module not in order:
            visit(module)
    return [component for component in components if len(component) > 1]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and under TYPE_CHECKING count."""
    edges = {
        module: {name for _, name in imports_of(module, path.read_text("utf-8"), is_package=is_package(path))}
        & (set(MODULES) - {module})
        for module, path in MODULES.items()
    }
    assert circles(edges) == []


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}
    assert circles(edges) == [["b", "c"]]


def slurm_calls(source: str) -> list[int]:
    """Lines with a command of Slurm: a list or tuple that begins with the name of one of its programs."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.List | ast.Tuple) and node.elts and isinstance(node.elts[0], ast.Constant)
        if node.elts[0].value in SLURM_PROGRAMS
    ]


def test_only_one_package_calls_slurms_programs() -> None:
    callers = {module for module, path in MODULES.items() if slurm_calls(path.read_text("utf-8"))}
    assert callers == {"nllgen.launch.slurm.commands", "nllgen.launch.slurm.cluster_info"}


@pytest.mark.parametrize(
    ("source", "num_calls"),
    [
        ('run(["squeue", "--noheader"])', 1),
        ('subprocess.run(("scancel", job))', 1),
        ('words = ["sacct", *options]', 1),
        ('finding("sacct", "works")', 0),
        ('{"sbatch": script}', 0),
    ],
)
def test_a_call_of_a_slurm_program_is_found(source: str, num_calls: int) -> None:
    assert len(slurm_calls(source)) == num_calls


def imports_at_the_top(module: str) -> set[str]:
    """Modules that are imported when a module is, but the standard library's."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    names = {name for _, name in imports_of(module, ast.unparse(top), is_package=is_package(MODULES[module]))}
    return {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}


def imported_at_start_up(module: str) -> set[str]:
    """Modules that are imported with a module of the command line, directly or by another of its modules."""
    imported: set[str] = set()
    queue = [module]
    while queue:
        new = imports_at_the_top(queue.pop()) - imported
        imported |= new
        queue += [name for name in new if name in MODULES and package_of(name) == "cli"]
    return imported


def test_a_command_imports_what_it_needs_when_it_runs() -> None:
    """``nllgen --help`` takes less than a fifth of a second."""
    imported = imported_at_start_up("nllgen.cli.app")
    assert {name for name in imported if not name.startswith("nllgen.cli.")} == {
        "click",
        "click.shell_completion",  # its items, which the completers of options return
        "cloup",
        "nllgen",
        "nllgen.errors",
        "nllgen.study.image_sets",  # names alone, for what can be fetched
        "nllgen.study.metric_groups",  # names alone, for the help of --metric
    }
    assert {"nllgen.cli.options", "nllgen.cli.study_commands"} <= imported
    assert "nllgen.cli.screen" not in imported  # which imports rich at its top


@pytest.mark.parametrize("package", sorted(NO_TORCH & {package_of(module) for module in MODULES}))
def test_a_package_without_torch_reaches_none(package: str) -> None:
    """Importing all of a package, and so all that it imports, in a process of its own."""
    modules = [module for module in MODULES if package_of(module) == package and not module.endswith("__main__")]
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
print(*sorted({{name.split(".")[0] for name in sys.modules}} & {{"torch", "torchvision", "pytorch_fid"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
