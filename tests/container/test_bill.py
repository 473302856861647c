"""The bill of materials: what it says of this machine's packages, and what the real container holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from nllgen.container import Container
from nllgen.container.bill import BILL, _licences, make_bill, packages_of, read_sums
from nllgen.container.exec import PREFIX
from nllgen.container.verify import bill_path
from nllgen.container.wheels import CUDA_LOCK, DEBIAN_LOCK, LOCK, read_lock
from nllgen.study.builtin import builtin_folder

ENVIRONMENT = 3
BASE = {"type": "container", "name": "python", "sha256": "1" * 64}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT\nLicense: old\n", [{"expression": "MIT"}]),
        ("Classifier: License :: OSI Approved :: BSD License\nLicense: BSD\n", [{"license": {"name": "BSD License"}}]),
        ("Classifier: License :: OSI Approved\nLicense: MPL-2.0\n", [{"license": {"name": "MPL-2.0"}}]),
        ("License: Apache-2.0\n        and its whole text\n", [{"license": {"name": "Apache-2.0"}}]),
        ("Summary: none\n", []),
    ],
)
def test_a_licence_is_an_expression_else_a_classifier_else_a_text(
    tmp_path: Path, metadata: str, expected: list[dict[str, Any]]
) -> None:
    (tmp_path / "METADATA").write_text(f"Metadata-Version: 2.1\nName: x\nVersion: 1\n{metadata}")
    assert _licences(Distribution.at(tmp_path)) == expected


def test_a_bill_has_the_base_and_every_package_once() -> None:
    sums = {"click-8.5.1-py3-none-any.whl": "2" * 64, "libc6_2.36-9_amd64.deb": "3" * 64}
    bill = make_bill(BASE, sums)
    assert bill["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    assert len({part["bom-ref"] for part in bill["components"]}) == len(bill["components"])
    (click,) = (part for part in bill["components"] if part["name"] == "click")
    assert click["purl"] == f"pkg:pypi/click@{click['version']}"
    assert click["hashes"] == [{"alg": "SHA-256", "content": "2" * 64}]
    assert {"click", "nllgen", "torch"} <= set(packages_of(bill, "pypi"))
    assert make_bill(BASE, sums) == bill


def test_digests_are_read_as_sha256sum_prints_them() -> None:
    assert read_sums(iter(["# made\n", f"{'4' * 64}  a_1_all.deb\n", "\n"])) == {"a_1_all.deb": "4" * 64}


# the real container


@pytest.fixture(scope="module")
def bill(built: tuple[Path, str]) -> dict[str, Any]:
    """The bill beside the container."""
    content = json.loads(bill_path(built[0]).read_text())
    assert isinstance(content, dict)
    return content


def test_the_bill_lies_in_the_container_and_beside_it(inside: Run, built: tuple[Path, str]) -> None:
    beside = built[0].with_name("nllgen.sbom.json")
    assert inside(["cat", f"{PREFIX}/{BILL}"]).stdout == beside.read_text()
    assert f"its bill of materials: {beside}" in built[1]


def test_the_bill_has_pips_and_dpkgs_own_lists(inside: Run, bill: dict[str, Any]) -> None:
    listed = inside([f"{PREFIX}/bin/python", "-I", "-m", "pip", "list", "--format", "freeze"]).stdout.split()
    assert {f"{name}=={version}" for name, version in packages_of(bill, "pypi").items()} == {
        line.lower().replace("_", "-") for line in listed
    }
    debs = inside(["dpkg-query", "--show"]).stdout.splitlines()
    assert packages_of(bill, "deb") == {line.split("\t")[0].split(":")[0]: line.split("\t")[1] for line in debs}


def test_the_bill_has_the_locked_digests_and_every_licence(bill: dict[str, Any]) -> None:
    containers = builtin_folder("containers")
    assert containers is not None
    locked = read_lock(containers / LOCK) | read_lock(containers / CUDA_LOCK)
    with (containers / DEBIAN_LOCK).open() as file:
        debs = set(read_sums(file).values())
    packages = {kind: set(packages_of(bill, kind)) for kind in ("pypi", "deb")}
    for part in bill["components"][2:]:
        (digest,) = part["hashes"]
        assert digest["alg"] == "SHA-256"
        assert part.get("licenses") or part["purl"].startswith("pkg:deb"), part
        if part["purl"].startswith("pkg:deb"):
            assert digest["content"] in debs, part
        elif part["name"] != "nllgen":
            assert digest["content"] in locked[part["name"]][1], part
    assert len(debs) == len(packages["deb"])
    assert packages["pypi"] > {"nllgen", "torch", "pip", "setuptools"}


def test_the_bill_names_the_base_by_a_digest(bill: dict[str, Any]) -> None:
    base, python = bill["components"][:2]
    assert (base["type"], base["name"], base["version"]) == ("operating-system", "debian", "12")
    assert len(base["hashes"][0]["content"]) == 64
    assert (python["name"], python["version"][:5]) == ("python", "3.11.")


def test_the_check_compares_the_bill(nllgen: Run, container: Container, bill: dict[str, Any]) -> None:
    done = nllgen("build", "--check", container.path)
    num = {kind: len(packages_of(bill, kind)) for kind in ("pypi", "deb")}
    assert f"has the {num['pypi']} packages of Python and the {num['deb']} of Debian" in done.stdout, done.stderr


def test_another_bill_beside_a_container_is_refused(nllgen: Run, copy: Path) -> None:
    beside = bill_path(copy)
    beside.write_text("{}")
    done = nllgen("build", "--check", copy)
    beside.unlink()
    assert done.returncode == ENVIRONMENT
    assert "is not the bill of materials of" in done.stderr
