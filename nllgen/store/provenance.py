"""What a result says about where it came from."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_sha256() -> str:
    """Digest over the package's Python files, names and content, as they run."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def nllgen_version() -> str:
    """Version of the installed distribution; ``unknown`` where it runs uninstalled."""
    try:
        return version("nllgen")
    except PackageNotFoundError:
        return "unknown"
