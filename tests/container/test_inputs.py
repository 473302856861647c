"""Inputs of a build, and the digest by which a build is reused."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from nllgen.container import inputs, wheels
from nllgen.container.inputs import RECIPE, Request, gather
from nllgen.container.package import Source, find_source
from nllgen.errors import ContainerError
from nllgen.study.builtin import builtin_folder

CHECKOUT = Path(__file__).resolve().parents[2]
CONTAINERS = CHECKOUT / "containers"
SOURCE = Source("checkout", "0.1.0", "abc", "digest", lambda folder: folder)
DEBIAN = Request(Path("out.sif"), "debootstrap", origin="http://mirror.example/debian")


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipe and the locks; Debian's tool is taken as there."""
    monkeypatch.setattr(inputs, "require_programs", lambda names: None)
    folder = tmp_path / "containers"
    folder.mkdir()
    for name in (RECIPE, wheels.LOCK, wheels.CUDA_LOCK, wheels.DEBIAN_LOCK):
        (folder / name).write_bytes((CONTAINERS / name).read_bytes())
    return folder


# the digest of the inputs


def test_the_same_inputs_have_the_same_key(containers: Path) -> None:
    assert gather(DEBIAN, containers, SOURCE) == gather(DEBIAN, CONTAINERS, SOURCE)


@pytest.mark.parametrize("name", [RECIPE, wheels.LOCK, wheels.CUDA_LOCK, wheels.DEBIAN_LOCK])
def test_a_changed_recipe_or_lock_changes_both_keys(containers: Path, name: str) -> None:
    before = gather(DEBIAN, containers, SOURCE)
    with (containers / name).open("a") as file:
        file.write("# changed\n")
    after = gather(DEBIAN, containers, SOURCE)
    assert before.base_key != after.base_key
    assert before.key != after.key


@pytest.mark.parametrize(
    "request_",
    [
        Request(Path("out.sif"), "debootstrap", origin="http://other.example/debian"),
        Request(Path("out.sif"), "docker"),
        Request(Path("out.sif"), "debootstrap", origin=DEBIAN.origin, binds=("/site",)),
    ],
)
def test_another_base_or_bind_changes_both_keys(containers: Path, request_: Request) -> None:
    before, after = (gather(each, containers, SOURCE) for each in (DEBIAN, request_))
    assert before.base_key != after.base_key
    assert before.key != after.key


@pytest.mark.parametrize(
    ("version", "commit", "digest"), [("0.2", "abc", "digest"), ("0.1.0", "x", "digest"), ("0.1.0", "abc", "y")]
)
def test_another_nllgen_changes_the_last_step_alone(containers: Path, version: str, commit: str, digest: str) -> None:
    before = gather(DEBIAN, containers, SOURCE)
    after = gather(DEBIAN, containers, Source("checkout", version, commit, digest, lambda folder: folder))
    assert before.base_key == after.base_key
    assert before.key != after.key


def test_where_the_container_goes_and_who_signs_it_changes_nothing(containers: Path) -> None:
    other = Request(Path("x.sif"), "debootstrap", origin=DEBIAN.origin, sign="0", fresh=True)
    assert gather(DEBIAN, containers, SOURCE).key == gather(other, containers, SOURCE).key


def test_another_choice_of_pips_changes_the_key(
    containers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = set()
    links = tmp_path / "links"
    links.mkdir()
    for value in (str(links), "https://wheels.example"):
        monkeypatch.setenv("PIP_FIND_LINKS", value)
        keys.add(gather(DEBIAN, containers, SOURCE).base_key)
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    (links / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    keys.add(gather(DEBIAN, containers, SOURCE).base_key)
    assert len(keys) == 3


def test_a_local_base_is_known_by_its_content(containers: Path, tmp_path: Path) -> None:
    base = tmp_path / "site.sif"
    base.write_bytes(b"one")
    request_ = Request(Path("out.sif"), "localimage", origin=str(base))
    before = gather(request_, containers, SOURCE)
    base.write_bytes(b"two")
    assert gather(request_, containers, SOURCE).base_key != before.base_key
    with pytest.raises(ContainerError, match="does not exist"):
        gather(Request(Path("out.sif"), "localimage", origin="nothing.sif"), containers, SOURCE)
    with pytest.raises(ContainerError, match="which local container"):
        gather(Request(Path("out.sif"), "localimage"), containers, SOURCE)


# the recipe and the locks


def test_the_recipe_has_every_argument_that_is_passed(containers: Path) -> None:
    text = (CONTAINERS / RECIPE).read_text()
    used = set(re.findall(r"\{\{ (\w+) \}\}", text))
    declared = set(re.findall(r"^    (\w+)=", text.split("%arguments")[1].split("%post")[0], re.MULTILINE))
    gathered = gather(DEBIAN, containers, SOURCE)
    assert used == declared == {*gathered.base, *gathered.labels}


def test_the_recipe_and_the_locks_are_found() -> None:
    folder = builtin_folder("containers")
    assert folder is not None
    assert {RECIPE, wheels.LOCK, wheels.CUDA_LOCK, wheels.DEBIAN_LOCK} <= {path.name for path in folder.iterdir()}


def test_the_lock_agrees_with_the_constraints() -> None:
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pinned = {
        wheels.normalised(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line and line[0] != "#"
    }
    locked = wheels.read_lock(CONTAINERS / wheels.LOCK)
    assert {"torch", "torchvision", "pytorch-fid", "h5py", "click", "submitit", "pip"} <= set(locked)
    assert {name: version for name, (version, _) in locked.items() if pinned.get(name, version) != version} == {}
    assert set(locked) - set(pinned) == {"pip", "setuptools"}  # which pip does not list among what it freezes


def test_every_package_has_its_hash_and_torch_one_for_each_build() -> None:
    locked, cuda = (wheels.read_lock(CONTAINERS / name) for name in (wheels.LOCK, wheels.CUDA_LOCK))
    assert all(hashes for _, hashes in (locked | cuda).values())
    assert len(locked["torch"][1]) == 2
    assert "triton" in cuda
    assert not set(locked) & set(cuda)


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "click-8.5.1-py3-none-any.whl"
    path.write_bytes(b"right")
    right = {"click": ("8.5.1", {hashlib.sha256(b"right").hexdigest()})}
    wheels.check_hashes(tmp_path, right)
    path.write_bytes(b"wrong")
    with pytest.raises(ContainerError, match=r"click-8\.5\.1.*not among those that were locked"):
        wheels.check_hashes(tmp_path, right)


def test_a_docker_image_is_named_by_its_digest(containers: Path) -> None:
    """The default is the recipe's; a tag may mean another image tomorrow."""
    assert re.fullmatch(r"python@sha256:[0-9a-f]{64}", inputs.DOCKER_IMAGE)
    assert f"\n    FROM={inputs.DOCKER_IMAGE}\n" in (CONTAINERS / RECIPE).read_text()
    gathered = gather(Request(Path("out.sif")), containers, SOURCE)
    assert gathered.base["FROM"] == inputs.DOCKER_IMAGE
    digest = inputs.DOCKER_IMAGE.partition("sha256:")[2]
    assert gathered.component == {"type": "container", "name": "python", "sha256": digest}


@pytest.mark.parametrize(
    "image", ["python:3.11", "python", "python@sha256:12", "python@md5:" + "0" * 64, "python:3.11@sha256:" + "A" * 64]
)
def test_a_docker_image_that_is_named_by_a_tag_is_refused(containers: Path, image: str) -> None:
    with pytest.raises(ContainerError, match="not named by a digest") as caught:
        gather(Request(Path("out.sif"), origin=image), containers, SOURCE)
    assert "@sha256:" in caught.value.hint


def test_every_package_of_debian_has_its_hash() -> None:
    lines = [line for line in (CONTAINERS / wheels.DEBIAN_LOCK).read_text().splitlines() if not line.startswith("#")]
    names = [re.fullmatch(r"[0-9a-f]{64}  ([a-z0-9+.-]+)_[^_]+_(amd64|all)\.deb", line) for line in lines]
    assert all(names)
    assert {"python3.11-minimal", "libc6", "libstdc++6", "apt"} <= {name[1] for name in names if name}


def test_what_builds_nllgen_is_locked() -> None:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        (requirement,) = tomllib.load(file)["build-system"]["requires"]
    name, _, lowest = requirement.partition(">=")
    version, hashes = wheels.read_lock(CONTAINERS / wheels.LOCK)[name]
    assert int(version.split(".")[0]) >= int(lowest)
    assert len(hashes) == 1


# nllgen itself


def test_a_checkout_is_known_by_its_files_and_its_last_change() -> None:
    found = find_source(None)
    assert found.kind == "checkout"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", found.commit)
    assert found == Source(found.kind, found.version, found.commit, find_source(None).digest, found.write)
