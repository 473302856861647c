"""The bill of materials of a container in CycloneDX 1.6: written by the recipe inside, compared by the host."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from platform import python_version
from typing import Any
from urllib.parse import quote

from nllgen.container.wheels import normalised

BILL = "sbom.json"  # below the container's prefix
_DPKG = ["dpkg-query", "--show", "--showformat", r"${Package} ${Version} ${Architecture}\n"]
_LICENCE = re.compile(r"^License:[ \t]*(\S.*)$", re.MULTILINE)  # of a machine-readable copyright file of Debian
_LONG = 100  # characters; some packages have the whole text as their licence

Component = dict[str, Any]


def make_bill(base: Mapping[str, str], sums: Mapping[str, str]) -> dict[str, Any]:
    """List what is installed where this runs: the base, Debian's packages, Python and its packages.

    Nothing in it depends on the time or the machine, such that the same inputs have the same bill.

    Args:
        base: ``type`` and ``name`` of the base as CycloneDX has them, and its ``sha256``.
        sums: file name → SHA-256 of the wheels and Debian packages that were installed.
    """
    wheels = {normalised(name.split("-")[0]): value for name, value in sums.items() if name.endswith(".whl")}
    debs = {name.split("_")[0]: value for name, value in sums.items() if name.endswith(".deb")}
    system = _component(base["type"], base["name"], base.get("version", ""), "", base["sha256"], [])
    python = _component("platform", "python", python_version(), f"pkg:generic/python@{python_version()}", "", [])
    packages = {
        normalised(package.name): package for package in reversed([*distributions()])
    }  # the first on the path counts
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": "container", "name": "nllgen container"}},
        "components": [
            system,
            python,
            *(_deb(*words, debs.get(words[0], "")) for words in installed_debs()),
            *(_package(package, wheels.get(name, "")) for name, package in sorted(packages.items())),
        ],
    }


def _component(kind: str, name: str, version: str, purl: str, sha256: str, licences: list[dict[str, Any]]) -> Component:
    optional = {
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}] if sha256 else [],
        "licenses": licences,
    }
    named = {"type": kind, "bom-ref": purl or f"{kind}:{name}", "name": name}
    return named | {key: value for key, value in optional.items() if value}


def _package(package: Distribution, sha256: str) -> Component:
    name = normalised(package.name)
    purl = f"pkg:pypi/{name}@{quote(package.version, safe='')}"
    return _component("library", name, package.version, purl, sha256, _licences(package))


def _licences(package: Distribution) -> list[dict[str, Any]]:
    """Read the licence: an SPDX expression, else classifiers, else the first line of a text."""
    if expression := package.metadata["License-Expression"]:
        return [{"expression": expression}]
    classifiers = package.metadata.get_all("Classifier") or []
    names = [text.split(" :: ")[-1] for text in classifiers if text.startswith("License :: ")]
    text = (package.metadata["License"] or "").strip().partition("\n")[0]
    if text and (not names or names == ["OSI Approved"]):
        names = [text[:_LONG]]
    return [{"license": {"name": name}} for name in names]


def installed_debs() -> list[tuple[str, str, str]]:
    """List name, version and architecture of Debian's packages; none on a base without dpkg."""
    try:
        done = subprocess.run(_DPKG, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return []
    return sorted({(name, version, arch) for name, version, arch in map(str.split, done.stdout.splitlines())})


def _deb(name: str, version: str, architecture: str, sha256: str) -> Component:
    copyright_ = Path("/usr/share/doc", name, "copyright")
    text = copyright_.read_text("utf-8", errors="replace") if copyright_.is_file() else ""
    names = sorted({name.strip() for name in _LICENCE.findall(text)})
    licences = [{"license": {"name": name}} for name in names]
    purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}"
    return _component("library", name, version, purl, sha256, licences)


def packages_of(bill: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return name → version of the components of a package type, ``pypi`` or ``deb``."""
    parts = [part for part in bill["components"] if part.get("purl", "").startswith(f"pkg:{kind}/")]
    return {part["name"]: part["version"] for part in parts}


def read_sums(lines: Iterator[str]) -> dict[str, str]:
    """Read file name → SHA-256 as sha256sum prints them."""
    rows = (line.split() for line in lines if line.strip() and not line.startswith("#"))
    return {name: value for value, name in rows}


def main(bound: Path, prefix: Path) -> None:
    """Write the bill into the container: the recipe's last step.

    ``bound`` has the base's description and nllgen's wheel; ``prefix`` the digests that the first step wrote.
    """
    with (prefix / "installed.sha256").open(encoding="utf-8") as file:
        sums = read_sums(file)
    sums |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in bound.glob("*.whl")}
    bill = make_bill(json.loads((bound / "base.json").read_text("utf-8")), sums)
    (prefix / BILL).write_text(json.dumps(bill, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
