"""`nllgen build --check`: everything that can be known of an image before jobs depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nllgen.image import apptainer
from nllgen.image.opening import ask_schema, open_image, require_schema
from nllgen.image.running import Image, require_apptainer
from nllgen.image.sif import check_signed_digests, hash_range, read_sif


def check(path: Path, public_key: Path | None, say: Callable[[str], None]) -> Image:
    """Look at everything again, whatever is remembered of it.

    Args:
        path: the SIF.
        public_key: of who signed it, as PEM; without it Apptainer's keyring is asked.
        say: gets a line at each step.

    Raises:
        ImageError: what is wrong with it.
        MachineError: Apptainer is not installed.
    """
    require_apptainer()
    image = open_image(path)
    say(
        f"a whole SIF for this machine; nllgen {image.labels['nllgen.version']}, schema {image.labels['nllgen.schema']}"
    )
    sif = read_sif(image.path)
    check_signed_digests(sif)
    if sif.signatures:
        apptainer.verify(image.path, public_key)
        say("its signature is good")
    else:
        say("not signed")
    image = Image(image.path, hash_range(image.path), image.labels)
    require_schema(image.path, ask_schema(image))
    apptainer.test(image.path)
    say("nllgen runs in it, imports, samples and scores")
    say(f"sha256 {image.sha256}")
    return image
