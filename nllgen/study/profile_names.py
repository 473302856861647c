"""Names of the profiles of clusters: a user's own, and those that ship."""

from __future__ import annotations

from pathlib import Path

from nllgen.study.builtin import builtin_names
from nllgen.study.user_directories import user_directory


def user_folder() -> Path:
    """Return the folder of a user's own profiles."""
    return user_directory("CONFIG") / "profiles"


def profile_names() -> list[str]:
    """Return the names of all profiles, sorted."""
    return sorted({path.stem for path in user_folder().glob("*.yaml")} | set(builtin_names("profiles")))
