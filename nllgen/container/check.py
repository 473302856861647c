"""`nllgen build --check`: everything that can be known of a container before jobs depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nllgen.container import apptainer
from nllgen.container.exec import Container, require_apptainer
from nllgen.container.sif import check_signed_digests, hash_range, read_sif
from nllgen.container.verify import ask_schema, require_schema, verify_container


def check(path: Path, public_key: Path | None, echo: Callable[[str], None]) -> Container:
    """Look at everything again, whatever is remembered of it.

    Args:
        path: the SIF.
        public_key: of who signed it, as PEM; without it Apptainer's keyring is asked.
        say: gets a line at each step.

    Raises:
        ContainerError: what is wrong with it.
        MachineError: Apptainer is not installed.
    """
    require_apptainer()
    container = verify_container(path)
    echo(
        f"a whole SIF for this machine; nllgen {container.labels['nllgen.version']}, schema {container.labels['nllgen.schema']}"
    )
    sif = read_sif(container.path)
    check_signed_digests(sif)
    if sif.signatures:
        apptainer.verify(container.path, public_key)
        echo("its signature is good")
    else:
        echo("not signed")
    container = Container(container.path, hash_range(container.path), container.labels)
    require_schema(container.path, ask_schema(container))
    apptainer.test(container.path)
    echo("nllgen runs in it, imports, samples and scores")
    echo(f"sha256 {container.sha256}")
    return container
