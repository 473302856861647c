"""Functions that commands share."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nllgen.assets import AssetStatus, asset_folder, has_mnist, mnist_pictures, status
from nllgen.errors import ConfigError, ConflictError, CorruptFileError, SchemaError
from nllgen.planning.plan import ContainerRule, Plan, plan_study
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Precision, Study
from nllgen.study.extend import extend_study
from nllgen.study.hardware import auto_precision
from nllgen.study.load import load_study

if TYPE_CHECKING:
    from nllgen.doctor.probe import Finding
    from nllgen.storage.collect import Collected

MAX_ROWS = 40


def load(grid: str, root: Path, precision: Precision | None = None) -> Study:
    """A grid.

    Args:
        grid: path or name.
        root: where studies lie.
        precision: what ``precision: auto`` means; this machine's where None. Where the study is frozen under the root,
            it is what it was when it was first submitted.
    """
    here = precision or auto_precision()
    study = load_study(grid, precision=here)
    folder = StudyDir(root / study.name)
    if not folder.is_frozen:
        return _with_data_at_hand(study)
    frozen = folder.read_study()
    if not _fits(frozen, study):
        with contextlib.suppress(ConfigError):  # cells that come out the same in the other precision
            other = load_study(grid, precision="fp32" if here == "bf16" else "bf16")
            study = other if _fits(frozen, other) else study
    return _with_data_at_hand(study, frozen)


def _with_data_at_hand(study: Study, frozen: Study | None = None) -> Study:
    """The study without the cells on optional data that are not there; those that are frozen stay."""
    if "mnist" not in study.optional:
        return study
    reduced = study.without_missing([] if has_mnist(asset_folder()) else ["mnist"])
    return reduced if frozen is None or _fits(frozen, reduced) else study


def _fits(frozen: Study, study: Study) -> bool:
    try:
        extend_study(frozen, study)
    except ConflictError:
        return False
    return True


def plan_of(study: Study, root: Path, container: ContainerRule | None = None) -> Plan:
    """The plan of a study under a root, whether it was submitted there before or not.

    Args:
        study: what is to be run.
        root: where studies lie.
        container: that it is to be run in.

    Raises:
        ConflictError: the study that is frozen there is another one.
    """
    study_dir = StudyDir(root / study.name)
    if study_dir.is_frozen:
        study = extend_study(study_dir.read_study(), study)
    return plan_study(study, study_dir, container)


def collect_study(folder: StudyDir, out: Path | None, allow_missing: bool, *, force: bool = False) -> Collected:
    """Collect, with pictures of real MNIST where the asset is there.

    Raises:
        ConfigError: ``out`` is there and is no study.h5 of this study, and ``force`` was not given.
    """
    from nllgen.storage.collect import collect

    study = folder.read_study()
    if out is not None and not force:
        _check_replaceable(out, study.name)
    size = (study.truth or study.cells[0]).data.image_size
    pictures = mnist_pictures(asset_folder(), 64, size)
    reference = {} if pictures is None else {"mnist": pictures}
    return collect(folder, out or folder.path / "study.h5", allow_missing=allow_missing, reference=reference)


def _check_replaceable(out: Path, name: str) -> None:
    """Refuse to replace anything but an older study.h5 of the same study."""
    from nllgen.storage.study_file import study_name

    if not os.path.lexists(out):
        return
    what = "is a folder" if out.is_dir() else "is not a study.h5"
    with contextlib.suppress(CorruptFileError, SchemaError):
        if not out.is_dir() and (found := study_name(out)) == name:
            return
        what = what if out.is_dir() else f"holds the study {found}"
    raise ConfigError(
        f"{out} {what}: it is not replaced by {name}", "choose another --out, or give --force to replace it"
    )


def print_json(value: dict[str, Any]) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def table(*headings: str) -> Any:
    """An empty table in the commands' style."""
    from rich.table import Table

    return Table(*headings, box=None, header_style="bold", pad_edge=False)


def show(*things: Any) -> None:
    """Print tables and texts as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    for thing in things:
        console.print(thing)


def show_assets(found: list[AssetStatus]) -> None:
    """A table of assets."""
    rows = table("asset", "state", "hash", "why it matters", "path")
    for asset in found:
        rows.add_row(asset.name, asset.state, asset.digest, asset.why, str(asset.path))
    show(rows)


def asset_findings() -> list[Finding]:
    """The assets as `nllgen doctor` shows them; MNIST's four files are one."""
    from nllgen.doctor.probe import Finding

    found = []
    assets = status(asset_folder())
    for folder in dict.fromkeys(asset.path.parent for asset in assets):
        files = [asset for asset in assets if asset.path.parent == folder]
        bad = [f"{asset.name} {asset.state}" for asset in files if not asset.is_present]
        value, queue = (", ".join(bad), f"nllgen assets fetch {folder.name}") if bad else (str(folder), "")
        found.append(Finding("assets", folder.name, value, "note" if bad else "ok", files[0].why, queue))
    return found


def show_plan(plan: Plan) -> None:
    """A table of what runs, with the totals."""
    rows = table("id", "run", "", "does", "why", "core-minutes", "GB")
    for row in plan.rows[:MAX_ROWS]:
        minutes = "" if row.action != "run" else "?" if row.estimate == "none" else f"{row.seconds / 60:.1f}"
        memory = f"{row.memory_gb:.1f}" if row.memory_gb and minutes != "?" else ""
        rows.add_row(row.id, row.kind, row.label, row.action, row.reason, minutes, memory)
    left_out = len(plan.rows) - MAX_ROWS
    show(rows, f"… and {left_out} more (all with --json)" if left_out > 0 else "")
    show(
        f"study {plan.study}: {plan.num_run} to run, {plan.num_skip} to skip; about {plan.core_hours:.2f} core-hours, "
        f"{plan.evaluation_share:.0%} of them for evaluations; {plan.wall_seconds / 60:.0f} min on {plan.cores} cores"
    )
    show(*map(left_out_text, plan.left_out))


def left_out_text(source: str) -> str:
    """What to say of cells that were left out because their data are missing."""
    return f"cells on {source} are left out, since it is not here; to add them: nllgen assets fetch {source}"
