"""The complete check of a container before jobs depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nllgen.container import apptainer
from nllgen.container.exec import Container, require_apptainer
from nllgen.container.sif import read_sif
from nllgen.container.verify import verify_container


def check(path: Path, public_key: Path | None, echo: Callable[[str], None]) -> Container:
    """Verify a container without the cache, its signature's owner, and that nllgen runs in it.

    Args:
        path: the SIF.
        public_key: of the signer, as PEM; without it the keys of Apptainer's keyring are tried.
        echo: prints a line after each step.

    Raises:
        ContainerError: one step failed.
        MachineError: Apptainer is not installed.
    """
    require_apptainer()
    container = verify_container(path, use_cache=False)
    labels = container.labels
    echo(f"a whole SIF for this machine; nllgen {labels['nllgen.version']}, schema {labels['nllgen.schema']}")
    if read_sif(container.path).signatures:
        apptainer.verify(container.path, public_key)
        echo("its signature is good")
    else:
        echo("not signed")
    apptainer.test(container.path)
    echo("nllgen runs in it, imports, samples and scores")
    echo(f"sha256 {container.sha256}")
    return container
