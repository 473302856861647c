"""`nllgen build` with the real Apptainer: the container, its second build, its check, and damaged ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nllgen import __version__
from nllgen.container import Container, verify_container
from nllgen.container.sif import labels_of, read_sif
from nllgen.errors import ContainerError
from nllgen.study.config import SCHEMA

ENVIRONMENT = 3
NLLGEN = str(Path(sys.executable).with_name("nllgen"))
Run = Callable[..., subprocess.CompletedProcess[str]]


def refused(nllgen: Run, path: Path, *words: str) -> None:
    """Both the function and the command refuse the container, the latter without a traceback."""
    with pytest.raises(ContainerError) as caught:
        verify_container(path)
    done = nllgen("build", "--check", path)
    assert done.returncode == ENVIRONMENT, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in str(caught.value)
        assert word in done.stderr


def test_the_labels_say_what_is_inside(container: Container) -> None:
    expected = {"nllgen.version", "nllgen.commit", "nllgen.code", "nllgen.lock", "nllgen.schema", "nllgen.inputs"}
    assert expected <= set(container.labels)
    assert container.labels["nllgen.version"] == __version__
    assert "none" not in {container.labels[name] for name in expected}


def test_apptainer_reads_the_same_labels(container: Container) -> None:
    done = subprocess.run(
        ["apptainer", "inspect", "--json", container.path], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["data"]["attributes"]["labels"] == dict(container.labels)
    assert labels_of(read_sif(container.path)) == container.labels


def test_the_container_passes_its_check(nllgen: Run, container: Container) -> None:
    done = nllgen("build", "--check", container.path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"sha256 {container.sha256}" in done.stdout
    assert "imports, samples and scores" in done.stdout


def test_a_second_build_is_found_again_and_is_the_same_file(
    nllgen: Run, container: Container, open_folder: Path
) -> None:
    done = nllgen("build", "--base", "debootstrap", "-o", open_folder / "again.sif")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same inputs were built before" in done.stdout
    assert verify_container(open_folder / "again.sif").sha256 == container.sha256
    assert not list(open_folder.glob("*.part"))
    (open_folder / "again.sif").unlink()


def test_a_build_leaves_the_hosts_temporary_files_alone() -> None:
    """Apptainer shows a build the host's /tmp, /var/tmp and home; the recipe may clear its own folders only."""
    text = (Path(__file__).resolve().parents[2] / "containers" / "nllgen.def").read_text()
    removed = [line for line in text.splitlines() if not line.lstrip().startswith("#") and "rm " in line]
    assert removed
    assert not [
        word for line in removed for word in line.split() if word.startswith(("/tmp", "/var/tmp", "/root", "~"))
    ]


BYTECODE = """
import sys
from importlib.util import cache_from_source
from pathlib import Path
import nllgen.worker.setup, nllgen.metrics.registry, torch
parameter = torch.nn.Parameter(torch.zeros(2))
parameter.sum().backward()
torch.optim.Adam([parameter]).step()
files = [str(getattr(module, "__file__", "")) for module in sys.modules.values()]
files = [file for file in files if file.startswith("/") and file.endswith(".py")]
print(len(files), [file for file in files if not Path(cache_from_source(file)).exists()])
"""


def test_all_that_a_run_imports_has_bytecode_and_there_is_no_compiler(inside: Run) -> None:
    done = inside(["/opt/nllgen/bin/python", "-I", "-c", BYTECODE])
    num, _, without = done.stdout.strip().partition(" ")
    assert (int(num) > 1000, without) == (True, "[]"), done.stdout + done.stderr
    assert inside(["sh", "-c", "command -v gcc cc make"]).returncode != 0


# containers that are not right


def test_a_truncated_container_is_refused(nllgen: Run, copy: Path) -> None:
    with copy.open("r+b") as file:
        file.truncate(copy.stat().st_size * 2 // 3)
    refused(nllgen, copy, "truncated", "nllgen build")


def test_a_container_for_other_processors_is_refused(nllgen: Run, copy: Path) -> None:
    with copy.open("r+b") as file:  # the two digits of the architecture, after the launcher, the magic and the version
        file.seek(32 + 10 + 3)
        file.write(b"04\0")
    refused(nllgen, copy, "aarch64")


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key as PEM."""
    if shutil.which("openssl") is None:
        pytest.skip("NOT TESTED: needs openssl")
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return private, public


def test_a_signed_container_verifies_until_it_is_tampered_with(
    nllgen: Run, container: Container, open_folder: Path, key: tuple[Path, Path]
) -> None:
    private, public = key
    out = open_folder / "signed.sif"
    done = nllgen("build", "--base", "debootstrap", "-o", out, "--sign", private)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verify_container(out).sha256 != container.sha256  # the signature is in the file
    assert nllgen("build", "--check", out, "--key", public).returncode == 0
    unknown = nllgen("build", "--check", out)
    assert unknown.returncode == ENVIRONMENT
    assert "signature" in unknown.stderr
    system = max(read_sif(out).parts, key=lambda part: part.size)
    with out.open("r+b") as file:
        file.seek(system.offset + system.size // 2)
        byte = file.read(1)[0]
        file.seek(system.offset + system.size // 2)
        file.write(bytes([byte ^ 1]))
    refused(nllgen, out, "changed after it was signed")
    out.unlink()


def test_a_pgp_key_of_apptainers_keyring_signs_and_its_owner_is_known(
    nllgen: Run, built: tuple[Path, str], open_folder: Path, tmp_path: Path
) -> None:
    ring, stranger = {"APPTAINER_KEYSDIR": str(tmp_path / "keys")}, {"APPTAINER_KEYSDIR": str(tmp_path / "none")}
    for folder in (*ring.values(), *stranger.values()):
        Path(folder).mkdir(mode=0o700)
    words = ["apptainer", "key", "newpair", "--name", "n", "--email", "n@example.org", "--comment", "none"]
    words += ["--password", "", "--push=false", "--bit-length", "2048"]
    subprocess.run(words, env=os.environ | ring, check=True, capture_output=True)
    out = open_folder / "pgp.sif"
    done = nllgen("build", "--base", "debootstrap", "-o", out, "--sign", "0", **ring)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(read_sif(out).signatures) == 1
    assert nllgen("build", "--check", out, **ring).returncode == 0
    refused_by = nllgen("build", "--check", out, **stranger)
    assert refused_by.returncode == ENVIRONMENT
    assert "signature" in refused_by.stderr
    out.unlink()


def test_an_unreachable_registry_names_the_other_bases(nllgen: Run, apptainer: str, tmp_path: Path) -> None:
    words = ["build", "--base", "docker", "--from", f"127.0.0.1:9/none@sha256:{'0' * 64}", "-o", tmp_path / "x.sif"]
    done = nllgen(*words, NLLGEN_CACHE=str(tmp_path / "cache"))
    assert done.returncode == ENVIRONMENT
    assert "apptainer build failed" in done.stderr
    assert "--base debootstrap" in done.stderr


def test_a_missing_key_is_named_and_nothing_is_left(nllgen: Run, built: tuple[Path, str], open_folder: Path) -> None:
    done = nllgen("build", "--base", "debootstrap", "-o", open_folder / "x.sif", "--sign", "no-such-key")
    assert done.returncode == ENVIRONMENT
    assert "no-such-key" in done.stderr
    assert not (open_folder / "x.sif").exists()
    assert not list(open_folder.glob("*.part"))


@pytest.fixture
def empty(apptainer: str, open_folder: Path) -> Iterator[Path]:
    """An empty sandbox; containers made from it are removed with it."""
    root = open_folder / "empty"
    (root / "bin").mkdir(parents=True)
    yield root
    shutil.rmtree(root)
    for path in open_folder.glob("empty-*"):
        path.unlink()


def made(root: Path, name: str, labels: str = "") -> Path:
    """A container of a sandbox, with labels."""
    recipe, out = root.parent / f"{name}.def", root.parent / f"{name}.sif"
    recipe.write_text(f"Bootstrap: localimage\nFrom: {root}\n\n%labels\n{labels}\n")
    done = subprocess.run(["apptainer", "build", "--force", out, recipe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_a_container_without_nllgen_is_refused(nllgen: Run, empty: Path) -> None:
    refused(nllgen, made(empty, "empty-plain", "    maintainer somebody"), "holds no nllgen")


def test_a_container_with_the_labels_of_nllgen_alone_is_refused(nllgen: Run, empty: Path) -> None:
    labels = f"    nllgen.version 0.1.0\n    nllgen.schema {SCHEMA}"
    refused(nllgen, made(empty, "empty-liar", labels), "does not run")


def test_a_container_of_another_schema_is_refused(nllgen: Run, empty: Path) -> None:
    labels = "    nllgen.version 9.0\n    nllgen.schema 99"
    refused(nllgen, made(empty, "empty-new", labels), "schema 99", f"has {SCHEMA}")


def test_a_failed_build_says_why_and_leaves_nothing(
    nllgen: Run, empty: Path, open_folder: Path, tmp_path: Path
) -> None:
    shutil.copy("/bin/sh", empty / "bin" / "sh")  # without its libraries it cannot run
    done = nllgen(
        "build", "--base", "localimage", "--from", empty, "-o", open_folder / "x.sif", NLLGEN_CACHE=str(tmp_path)
    )
    assert done.returncode == ENVIRONMENT, done.stdout
    assert "apptainer build failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (open_folder / "x.sif").exists()
    assert not list((tmp_path / "containers").glob("*.part"))


def running(pattern: str) -> str:
    """Numbers of the processes whose command line matches."""
    return subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True).stdout


def test_an_interrupted_build_leaves_nothing_behind(apptainer: str, open_folder: Path, tmp_path: Path) -> None:
    temporary = open_folder / "temporary"
    temporary.mkdir()
    words = [NLLGEN, "build", "--base", "debootstrap", "-o", str(open_folder / "x.sif")]
    env = os.environ | {"NLLGEN_CACHE": str(tmp_path / "cache"), "TMPDIR": str(temporary)}
    env.pop("APPTAINER_TMPDIR", None)
    process = subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as a terminal has it
    )  # fmt: skip
    assert process.stdout is not None
    assert any("building Python" in line for line in process.stdout)
    assert any("starting build" in line for line in process.stdout)
    end = time.monotonic() + 60
    while not running(f"debootstrap.*{temporary}"):
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 75, rest
    assert "Traceback" not in rest
    assert not list((tmp_path / "cache" / "containers").glob("*.part"))
    assert running(str(temporary)) == ""
    assert list(temporary.glob("nllgen-build-*")) == []
    shutil.rmtree(temporary)
