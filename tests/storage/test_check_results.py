"""Every file of a finished study is proved, and what does not fit is named."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.errors import IncompleteError, MachineError
from nllgen.storage.check_results import check_results
from nllgen.storage.collect import collect
from nllgen.storage.extra_metrics import ExtraMetrics, read_extra_metrics, write_extra_metrics
from nllgen.storage.result import model_of
from nllgen.storage.study_dir import StudyDir
from tests.storage.conftest import OTHER_WEIGHTS

CopyOf = Callable[[StudyDir], StudyDir]


def wrong(study_dir: StudyDir) -> list[tuple[str, str]]:
    return [(file.path.name, file.reason) for file in check_results(study_dir, study_dir.read_study())]


def test_a_finished_study_is_proved(measured_study: StudyDir) -> None:
    assert wrong(measured_study) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


def test_damaged_weights_are_found(bare_study: StudyDir, copy_of: CopyOf) -> None:
    study_dir = copy_of(bare_study)
    path = model_of(study_dir.cell(study_dir.read_study().cells[0].id))
    with zipfile.ZipFile(path) as archive:
        tensor = archive.read(max(archive.infolist(), key=lambda member: member.file_size))
    content = bytearray(path.read_bytes())
    content[content.index(tensor) + len(tensor) // 2] ^= 1
    path.write_bytes(content)
    ((name, reason),) = wrong(study_dir)
    assert name == path.name
    assert "other weights" in reason or "not a file of weights" in reason


def test_weights_of_another_cell_and_none_are_found(bare_study: StudyDir, copy_of: CopyOf) -> None:
    study_dir = copy_of(bare_study)
    one, other, third = (study_dir.cell(cell.id) for cell in study_dir.read_study().cells)
    shutil.copyfile(model_of(other), model_of(one))
    model_of(third).unlink()
    assert [reason.split(":")[0] for _, reason in wrong(study_dir)] == [
        "holds other weights than those that result.h5 was measured on",
        "is gone",
    ]


def test_a_damaged_result_and_data_set_are_found(bare_study: StudyDir, copy_of: CopyOf) -> None:
    study_dir = copy_of(bare_study)
    study = study_dir.read_study()
    assert study.truth is not None
    flip(study_dir.cell(study.cells[0].id).result)
    flip(study_dir.dataset(study.truth.id))
    assert [name for name, _ in wrong(study_dir)] == ["dataset.h5", "result.h5"]


def test_a_file_that_cannot_be_read_now_is_not_called_wrong(
    bare_study: StudyDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise MachineError(f"cannot read {path}: Input/output error")

    monkeypatch.setattr("nllgen.storage.states.read_head", refuse)
    with pytest.raises(MachineError, match="Input/output error"):
        wrong(bare_study)


def test_another_truth_makes_all_that_it_made_stale(bare_study: StudyDir, copy_of: CopyOf) -> None:
    study_dir = copy_of(bare_study)
    study = study_dir.read_study()
    assert study.truth is not None
    study_dir.truth(study.truth.id).result.unlink()  # which proves what its truth.pt has to hold
    shutil.copyfile(OTHER_WEIGHTS, study_dir.truth_weights(study.truth.id))
    found = wrong(study_dir)
    assert [name for name, _ in found] == ["dataset.h5", *["result.h5"] * 3]
    assert all("another truth" in reason for _, reason in found)


def test_collect_names_the_command_for_metrics_that_are_wrong(bare_study: StudyDir, copy_of: CopyOf) -> None:
    """Submitting the grid again, its advice for all holes, changes nothing there."""
    study_dir = copy_of(bare_study)
    study_dir.cell(study_dir.read_study().cells[0].id).extra_metrics("numerics").write_bytes(b"damaged")
    with pytest.raises(IncompleteError, match="check STUDY --repair moves wrong metrics aside"):
        collect(study_dir, study_dir.collected, reference={})


@pytest.mark.parametrize("kind", ["damaged", "other weights"])
def test_extra_metrics_that_do_not_belong_are_found(bare_study: StudyDir, copy_of: CopyOf, kind: str) -> None:
    study_dir = copy_of(bare_study)
    result = study_dir.cell(study_dir.read_study().cells[0].id)
    path = result.extra_metrics("numerics")
    if kind == "damaged":
        path.write_bytes(b"damaged")
    else:
        from nllgen.storage.result import read_result

        whole = read_result(result.result)
        names = ("group", "cell_id", "model_sha256", "truth_sha256", "code_sha256", "version", "torch_version")
        attrs = dict.fromkeys((*names, "measured_at", "host", "device", "num_samples", "assets"), "x")
        write_extra_metrics(path, ExtraMetrics(attrs | {"group": "numerics"}, whole.final))
        assert read_extra_metrics(path).group == "numerics"
    ((name, _),) = wrong(study_dir)
    assert name == "metrics.numerics.h5"
