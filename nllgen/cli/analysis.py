"""The analysis packages, which a machine that only trains may lack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nllgen.errors import MachineError


@contextmanager
def importing_analysis() -> Iterator[None]:
    """Raise an error that names the packages where an import of the analysis fails.

    Raises:
        MachineError: they are not installed.
    """
    try:
        yield
    except ImportError as error:
        message = f"the analysis packages are not installed ({error.name})"
        raise MachineError(message, "pip install 'nllgen[analysis]'") from error
