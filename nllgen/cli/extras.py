"""Optional packages of commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nllgen.errors import MachineError


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Name the extra of the package that a failed import in this block belongs to.

    Raises:
        MachineError: a package is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MachineError(
            f"the packages of {extra} are not installed ({error.name})", f"pip install 'nllgen[{extra}]'"
        ) from error
