"""The project's modules and their imports, read from the source by ast."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nllgen_analysis

import nllgen

PACKAGES = {"nllgen": Path(nllgen.__file__).parent, "nllgen_analysis": Path(nllgen_analysis.__file__).parent}


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
