"""The cells of a study: all sweeps expanded, without duplicates, on images of one size."""

from __future__ import annotations

from typing import Any

from nllgen.study.allowed_keys import TUNED_KEY
from nllgen.study.config import Cell
from nllgen.study.diagnostics import KeyPath, dotted
from nllgen.study.expand import Candidate, expand
from nllgen.study.parts import StudyContext
from nllgen.study.product import Product
from nllgen.study.sweep import SweepReader
from nllgen.study.yaml_documents import YamlDocument

MAX_CELLS = 100_000
_MAX_TRIED = 100  # combinations of each product of a grid with too many cells, to find its other errors


def read_cells(context: StudyContext, value: Any) -> tuple[Cell, ...]:
    """Return the cells of the section ``cells``; add its errors to the document."""
    document, num_before = context.document, len(context.document.diagnostics)
    reader = SweepReader(document)
    sweeps = document.sequence(("cells",), value)
    products = [product for i, sweep in enumerate(sweeps) for product in reader.products(("cells", i), sweep)]
    if sum(product.count for product in products) > MAX_CELLS:
        _add_too_many(document, products)
        products = [product.thinned(_MAX_TRIED) for product in products]
    cells: dict[str, tuple[Candidate, KeyPath]] = {}
    duplicates = _Duplicates(document)
    shapes: dict[tuple[int, int, int], KeyPath] = {}
    for product in products:
        for candidate in expand(product, context):
            if candidate.shape is not None:
                shapes.setdefault(candidate.shape, product.path)
            first, path = cells.setdefault(candidate.identity, (candidate, product.path))
            # a winner of a tuning study may be a cell that the file has anyway
            if first is not candidate and TUNED_KEY not in product.axes:
                duplicates.add((path, product.path), first.label, candidate.label)
    duplicates.report()
    _check_shapes(document, shapes)
    if not cells and len(document.diagnostics) == num_before:
        document.add_error(("cells",), "an empty grid: no cells are left to run")
    return tuple(candidate.cell for candidate, _ in cells.values() if candidate.cell is not None)


class _Duplicates:
    """Labels of equal cells by the paths of their sweeps."""

    def __init__(self, document: YamlDocument):
        self.document = document
        self.labels: dict[tuple[KeyPath, KeyPath], list[str]] = {}

    def add(self, paths: tuple[KeyPath, KeyPath], first: str, second: str) -> None:
        """Add a cell of the second sweep that is one of the first."""
        self.labels.setdefault(paths, []).append(first if first == second else f"{first} = {second}")

    def report(self) -> None:
        """Add an error for each two sweeps with equal cells."""
        for (path, repeated), labels in self.labels.items():
            shown = "; ".join(labels[:3]) + ("; …" if len(labels) > 3 else "")
            already = f"already in {dotted(path)} {self.document.where(path)}"
            self.document.add_error(repeated, f"{len(labels)} duplicate cells, {already}: {shown}")


def _add_too_many(document: YamlDocument, products: list[Product]) -> None:
    total = _format_count(sum(product.count for product in products))
    largest = max(products, key=lambda product: product.count)
    axes = " × ".join(f"{key} ({_format_count(length)})" for key, length in largest.lengths.items())
    text = f"{total} cells, at most {MAX_CELLS:,} are allowed; the largest sweep is {axes or 'a single cell'}"
    document.add_error(largest.path, text)


def _check_shapes(document: YamlDocument, shapes: dict[tuple[int, int, int], KeyPath]) -> None:
    """Check that all images have one size, since a study is one file of images."""
    first = next(iter(shapes), None)
    for shape, path in [*shapes.items()][1:]:
        assert first is not None
        text = f"data.image_size is {_size(shape)}, earlier cells have {_size(first)}: a study has images of one size"
        document.add_error(path, text)


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return str(height) if (channels, height) == (1, width) else f"{height}×{width} with {channels} channels"


def _format_count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"
