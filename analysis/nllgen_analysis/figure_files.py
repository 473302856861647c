"""Draw the figures of a report and write their files, a family of figures at a time, in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nllgen.storage.atomic import write_bytes
from nllgen.storage.processes import completed
from nllgen_analysis import tables
from nllgen_analysis.figures import FAMILIES, Drawn, NotDrawn, draw_family, render
from nllgen_analysis.frames import Frames
from nllgen_analysis.page_figures import FILES, PageFigure, page_figure
from nllgen_analysis.text import with_notes

_LONGEST = ("draw_frechet", "draw_nll", "draw_overfit", "draw_scatter")  # begin first, so that none is drawn last


@dataclass
class FigureFiles:
    """Figures of a report.

    Attributes:
        shown: figures of the page.
        absent: figures that are not drawn.
        paths: their files.
    """

    shown: list[PageFigure] = field(default_factory=list)
    absent: list[NotDrawn] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)


def write_figures(
    frames: Frames, directory: Path, processes: int = 1, progress: Callable[[int, int], None] | None = None
) -> FigureFiles:
    """Write PDF, PNG, CSV and caption of every figure, in the report's order.

    Args:
        frames: of the study.
        directory: of the files.
        processes: that draw at once; 1 draws in this one.
        progress: is told after each family how many of how many are drawn.

    Raises:
        MachineError: the disk is full, or a process ended because of the machine.
    """
    families: dict[int, FigureFiles] = {}
    drawn = _draw_here(frames, directory) if processes == 1 else _draw_in_processes(frames, directory, processes)
    for rank, files in drawn:
        families[rank] = files
        if progress:
            progress(len(families), len(FAMILIES))
    together = FigureFiles()
    for _, files in sorted(families.items()):
        together.shown += files.shown
        together.absent += files.absent
        together.paths += files.paths
    return together


def _draw_here(frames: Frames, directory: Path) -> Iterator[tuple[int, FigureFiles]]:
    for rank in range(len(FAMILIES)):
        yield rank, _write_family(rank, frames, directory)


def _draw_in_processes(frames: Frames, directory: Path, processes: int) -> Iterator[tuple[int, FigureFiles]]:
    """Draw in forks of this process, which have its frames and libraries at once."""
    order = sorted(range(len(FAMILIES)), key=lambda rank: FAMILIES[rank].__name__ not in _LONGEST)
    drawn = completed(
        _write_in_process, order, processes, "draws figures", start="fork",
        prepare=_enter, arguments=(frames, directory),
    )  # fmt: skip
    yield from ((order[rank], files) for rank, files in drawn)


_inputs: tuple[Frames, Path]  # of a process that draws


def _enter(frames: Frames, directory: Path) -> None:
    global _inputs
    _inputs = (frames, directory)


def _write_in_process(rank: int) -> FigureFiles:
    return _write_family(rank, *_inputs)


def _write_family(rank: int, frames: Frames, directory: Path) -> FigureFiles:
    files = FigureFiles()
    for result in draw_family(FAMILIES[rank], frames):
        if isinstance(result, NotDrawn):
            files.absent.append(result)
            continue
        files.shown.append(_write_figure(result, directory))
        files.paths += [directory / f"{result.name}.{kind}" for kind in FILES]
    return files


def _write_figure(drawn: Drawn, directory: Path) -> PageFigure:
    write_bytes(directory / f"{drawn.name}.png", render(drawn.figure, "png"))
    write_bytes(directory / f"{drawn.name}.pdf", render(drawn.figure, "pdf"))
    write_bytes(directory / f"{drawn.name}.csv", tables.to_csv(drawn.data))
    write_bytes(directory / f"{drawn.name}.txt", f"{drawn.title}\n\n{with_notes(drawn.caption)}".encode())
    return page_figure(drawn)
