"""The dependencies of the packages: who may import whom, who owns a library, and where torch may be.

Read from the source by ast, so that an import inside a function or under TYPE_CHECKING counts as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.modules import MODULES, PACKAGES, imports_of, is_package, package_of

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
