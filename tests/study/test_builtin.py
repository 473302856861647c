from pathlib import Path

import pytest

from nllgen.study import builtin
from nllgen.study.builtin import builtin_names, builtin_path


def test_names_are_without_suffix() -> None:
    assert {"misspec", "smoke"} <= set(builtin_names("jobs"))


@pytest.mark.parametrize("name", ["misspec", "misspec.yaml"])
def test_a_study_is_found_with_and_without_suffix(name: str) -> None:
    path = builtin_path("jobs", name)
    assert path is not None
    assert path.name == "misspec.yaml"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../jobs/misspec", "/etc/passwd", "a\\b", "a\0b", "jobs/misspec", "no"]
)
def test_a_name_cannot_leave_the_folder(name: str) -> None:
    assert builtin_path("jobs", name) is None


def test_a_wheel_has_them_in_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nllgen" / "share" / "profiles"
    folder.mkdir(parents=True)
    (folder / "hpc.yaml").touch()
    monkeypatch.setattr(builtin, "_PACKAGE", tmp_path / "nllgen")
    assert builtin_names("profiles") == ["hpc"]


def test_a_folder_beside_an_installed_package_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "misspec.yaml").touch()
    monkeypatch.setattr(builtin, "_PACKAGE", tmp_path / "nllgen")
    assert builtin_names("jobs") == []
    assert builtin_path("jobs", "misspec") is None
