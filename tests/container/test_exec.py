"""The words that start a program in the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.container import Bind, Container, container_python, exec_command
from nllgen.errors import ContainerError

CONTAINER = Container(Path("/containers/nllgen.sif"), "0" * 64, {})


def binds_of(words: list[str]) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == "--bind"]


def test_a_container_sees_its_binds_and_nothing_else_of_the_host(tmp_path: Path) -> None:
    words, variables = exec_command(
        CONTAINER, [*container_python(), "worker", "x y"], binds=[Bind(tmp_path, writable=True)], environment={"A": "1"}
    )
    container = words.index(str(CONTAINER.path))
    assert words[:3] == ["apptainer", "--silent", "exec"]
    assert {"--contain", "--cleanenv", "--no-eval", "--no-home"} <= set(words[:container])
    assert words[container + 1 :] == [*container_python(), "worker", "x y"]
    assert binds_of(words) == [f"{tmp_path}:{tmp_path}:rw"]
    assert variables == {"APPTAINERENV_PYTHONNOUSERSITE": "1", "APPTAINERENV_A": "1"}


def test_python_inside_is_isolated() -> None:
    assert container_python()[1] == "-I"


def test_values_need_no_quoting() -> None:
    _, variables = exec_command(CONTAINER, ["true"], binds=[], environment={"LIST": 'a,b c=$(id) "q"'})
    assert variables["APPTAINERENV_LIST"] == 'a,b c=$(id) "q"'


def test_a_folder_is_bound_before_what_is_in_it(tmp_path: Path) -> None:
    assets = tmp_path / "study" / "deep" / "assets"
    assets.mkdir(parents=True)
    binds = [Bind(assets), Bind(tmp_path, "/data"), Bind(tmp_path / "study", writable=True)]
    words, _ = exec_command(CONTAINER, ["true"], binds=binds, environment={})
    targets = [text.split(":")[1] for text in binds_of(words)]
    assert targets.index(str(tmp_path / "study")) < targets.index(str(assets))
    assert f"{assets}:{assets}:ro" in binds_of(words)
    assert f"{tmp_path}:/data:ro" in binds_of(words)


def test_gpus_are_limited_as_the_scheduler_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    words, variables = exec_command(CONTAINER, ["true"], binds=[], environment={}, gpus=True)
    assert "--nv" in words
    assert variables["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "1"
    _, chosen = exec_command(CONTAINER, ["true"], binds=[], environment={"CUDA_VISIBLE_DEVICES": "0"}, gpus=True)
    assert chosen["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "0"
    words, variables = exec_command(CONTAINER, ["true"], binds=[], environment={})
    assert "--nv" not in words
    assert "APPTAINERENV_CUDA_VISIBLE_DEVICES" not in variables


def test_the_network_can_be_switched_off() -> None:
    words, _ = exec_command(CONTAINER, ["true"], binds=[], environment={}, network=False)
    assert words[words.index("--net") : words.index("--net") + 3] == ["--net", "--network", "none"]


@pytest.mark.parametrize(("name", "what"), [("a:b", "a colon"), ("a,b", "a comma"), ("a\nb", "a line break")])
def test_a_bind_with_a_name_that_apptainer_cannot_parse_is_refused(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ContainerError, match=what):
        exec_command(CONTAINER, ["true"], binds=[Bind(tmp_path / name)], environment={})
    with pytest.raises(ContainerError, match=what):
        exec_command(CONTAINER, ["true"], binds=[Bind(tmp_path, f"/{name}")], environment={})


@pytest.mark.parametrize("target", ["/", "/usr", "/usr/lib", "/opt", "/opt/nllgen", "/opt/x/..", "/etc/"])
def test_a_bind_may_not_hide_the_container(tmp_path: Path, target: str) -> None:
    with pytest.raises(ContainerError, match="hide the container"):
        exec_command(CONTAINER, ["true"], binds=[Bind(tmp_path, target)], environment={})


@pytest.mark.parametrize("target", ["/opt/nllgen/runs", "/home/x", "/tmp", "/usr/lib/x", "/scratch"])
def test_a_bind_may_lie_below_the_containers_own(tmp_path: Path, target: str) -> None:
    words, _ = exec_command(CONTAINER, ["true"], binds=[Bind(tmp_path, target)], environment={})
    assert binds_of(words) == [f"{tmp_path}:{target}:ro"]


def test_a_bind_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="does not exist"):
        exec_command(CONTAINER, ["true"], binds=[Bind(tmp_path / "x")], environment={})
    with pytest.raises(ContainerError, match="absolute"):
        exec_command(CONTAINER, ["true"], binds=[Bind(tmp_path, "x")], environment={})
