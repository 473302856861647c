"""Images of one's own in the section ``data`` of cells: read, compared with their SHA-256, and counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from nllgen.errors import NllgenError
from nllgen.study.cell import HELD_OUT
from nllgen.study.diagnostics import show
from nllgen.study.image_files import Images, read_images
from nllgen.study.yaml_documents import YamlDocument


class _Context(Protocol):
    @property
    def document(self) -> YamlDocument: ...
    @property
    def image_files(self) -> dict[str, str]: ...

    @property
    def copy_of(self) -> Callable[[str], Path] | None: ...


class _Builder(Protocol):
    """A builder of cells, which receives the errors of their keys."""

    @property
    def context(self) -> _Context: ...
    def add_error(self, key: str, text: str, value: object = None) -> None: ...


class OwnImages:
    """The section ``data`` of a cell with ``source: file``, to be completed from the file.

    Args:
        builder: of the cells; its context receives the path.
        payload: values of the section, which are completed.
        unknown: keys of it that are not known.
    """

    def __init__(self, builder: _Builder, payload: dict[str, Any], unknown: set[str]):
        self.builder = builder
        self.payload = payload
        self.unknown = unknown

    def fill(self) -> None:
        """Fill in the shape and the numbers of the images, and check that the rest agrees with them."""
        path, payload = self.payload.pop("path", None), self.payload
        if "image_size" in payload:
            text = "is of published sets; images of a file have their own size: leave it out"
            self._wrong("image_size", text, payload.pop("image_size"))
        images = None if path is None else self._read(path)
        if path is None and "path" not in self.unknown:
            self._wrong("path", "is required for source: file: an .npz file or a directory of PNG or JPEG files")
        if images is None:
            self.unknown.update(("image_size", "num_train", "sha256"))  # whatever is not known follows from the file
            return
        payload["image_shape"] = images.shape
        self._check_digest(path, images)
        self._count(images)

    def _read(self, path: str) -> Images | None:
        """Read the images, or where they cannot be read their copy in the study's directory."""
        file = (Path(self.builder.context.document.diagnostics.file_name).parent / path).absolute()
        try:
            images = read_images(file)
        except NllgenError as error:
            if (copied := self._read_copy()) is None:
                self._wrong("path", f"{error.message}; expected: {error.hint}", path)
            return copied
        self.builder.context.image_files[images.sha256] = str(file)
        return images

    def _read_copy(self) -> Images | None:
        copy_of, sha256 = self.builder.context.copy_of, self.payload.get("sha256")
        if copy_of is not None and sha256 is not None:
            with contextlib.suppress(NllgenError):
                images = read_images(copy_of(sha256))
                return images if images.sha256 == sha256 else None
        return None

    def _check_digest(self, path: str, images: Images) -> None:
        if "sha256" in self.unknown:
            return
        written = self.payload.get("sha256")
        if written is None:
            self._wrong("sha256", f"is required; the images of {path} have sha256: {images.sha256}")
        elif written != images.sha256:
            text = f"{show(written)} is not that of the images of {path}, which is {images.sha256}"
            self._wrong("sha256", text, written)

    def _count(self, images: Images) -> None:
        """Resolve the number of training images."""
        if not self.unknown.isdisjoint(("num_train", "num_val", "num_test")):
            return
        payload = self.payload
        num_val, num_test = (payload.setdefault(key, HELD_OUT) for key in ("num_val", "num_test"))
        num_left, wanted = images.num_left(num_val, num_test), payload.get("num_train", "all")
        if num_left < 2:
            total = f"{len(images.images):,}" + (f" + {len(images.test):,} test" if len(images.test) else "")
            text = f"{num_val:,}, and num_test {num_test:,}, leave too few of the {total} images for training"
            self._wrong("num_val", f"{text}; give smaller ones", num_val)
        elif isinstance(wanted, int) and wanted > num_left:
            self._wrong(
                "num_train", f"{wanted} is more than the {num_left} images that num_val and num_test leave", wanted
            )
        elif wanted == "all":
            payload["num_train"] = num_left

    def _wrong(self, key: str, text: str, value: object = None) -> None:
        self.builder.add_error(f"data.{key}", text, value)
        self.unknown.add(key)
        self.payload.pop(key, None)
