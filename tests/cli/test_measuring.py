"""``evaluate``, ``draw`` and ``score``."""

from __future__ import annotations

import itertools
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nllgen.data.truth import load_truth, truth_bytes
from nllgen.errors import StoppedError
from nllgen.launch.freeze import freeze
from nllgen.metrics.exact import log_densities
from nllgen.models import RealNVP
from nllgen.storage.dataset import NUMBERS, Dataset, read_dataset, write_dataset
from nllgen.storage.result import read_result
from nllgen.study.config import Cell, DataConfig, DatasetConfig, FlowConfig
from nllgen.study.load import parse_study
from nllgen.worker.dataset import draw_dataset
from nllgen.worker.progress import plain_lines
from nllgen.worker.settings import NeverStop
from tests.cli.pages import SCORE, blocks
from tests.cli.process import NLLGEN, TINY, USAGE, Run, frozen, refused

TINY_WITH_TRUTH = """
name: tiny
truth: {data: {source: mnist, image_size: 14}, flow: {width: 2, blocks: 0, scales: 1}, paradigm: {steps: 1}}
dataset: {num_train: 40, num_val: 20, num_test: 20, num_entropy: 50}
cells: [{data: {source: synthetic, num_train: 40}, degree: W, paradigm: {name: nll, steps: 1}}]
"""


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Make a directory with a truth and 60 images per split."""
    folder = tmp_path / "truth"
    folder.mkdir()
    config = FlowConfig(shape=(1, 14, 14), width=2, blocks=0, scales=1)
    cell = Cell(data=DataConfig(image_size=14), flow=config)
    torch.manual_seed(0)
    flow = RealNVP(config).requires_grad_(False)
    (folder / "truth.pt").write_bytes(truth_bytes(cell, flow.state_dict()))
    sha256 = load_truth(folder / "truth.pt", torch.device("cpu")).sha256
    x = {split: flow.sample(60, torch.Generator().manual_seed(i)) for i, split in enumerate(("train", "val", "test"))}
    log_prob = {split: log_densities(flow, images) for split, images in x.items()}
    images = {split: part.numpy() for split, part in x.items()}
    dataset = Dataset(cell.id, sha256, images, log_prob, dict.fromkeys(NUMBERS, 1.0))
    write_dataset(folder / "dataset.h5", dataset)
    return folder


def test_the_truth_scored_against_itself_is_0(nllgen: Run, truth: Path) -> None:
    done = nllgen("score", "--truth", truth, "--log-probs", truth / "dataset.h5", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kl_nats"], found["kl_se_nats"], found["num_images"]) == (0, 0, 60)


def drawn(run: Run, truth: Path, num_train: int, num_test: int = 20) -> Dataset:
    """Run ``draw`` and return the data set that it wrote."""
    sizes = ("--num-train", num_train, "--num-val", 20, "--num-test", num_test, "--num-entropy", 2000)
    done = run("draw", truth, *sizes, "--threads", 1)
    assert done.returncode == 0, done.stderr
    return read_dataset(truth / "dataset.h5")


def test_a_truth_alone_is_enough_to_draw_its_data_set(nllgen_process: Run, truth: Path) -> None:
    (truth / "dataset.h5").unlink()
    dataset = drawn(nllgen_process, truth, 600)
    assert dataset.sizes() == {"train": 600, "val": 20, "test": 20}
    flow = load_truth(truth / "truth.pt", torch.device("cpu")).flow
    exact = log_densities(flow, torch.from_numpy(dataset.x["train"]))
    np.testing.assert_allclose(dataset.log_prob["train"], exact, atol=1e-3)
    found, error = dataset.numbers["entropy_nats"], dataset.numbers["entropy_se_nats"]
    assert abs(-exact.mean() - found) < 5 * (error + exact.std() / np.sqrt(600))
    done = nllgen_process("score", "--truth", truth, "--log-probs", truth / "dataset.h5", "--json")
    assert json.loads(done.stdout)["kl_nats"] == 0


def test_a_data_set_grows_and_never_shrinks(nllgen: Run, truth: Path) -> None:
    (truth / "dataset.h5").unlink()
    first = drawn(nllgen, truth, 500, num_test=30)
    second = drawn(nllgen, truth, 900, num_test=20)
    assert second.sizes() == {"train": 900, "val": 20, "test": 30}
    np.testing.assert_array_equal(second.x["train"][:500], first.x["train"])
    np.testing.assert_array_equal(second.log_prob["test"], first.log_prob["test"])


def test_a_data_set_of_another_truth_is_not_written_over(nllgen: Run, truth: Path) -> None:
    cell = load_truth(truth / "truth.pt", torch.device("cpu")).cell
    torch.manual_seed(1)
    (truth / "truth.pt").write_bytes(truth_bytes(cell, RealNVP(cell.real_nvp).state_dict()))
    before = (truth / "dataset.h5").read_bytes()
    refused(nllgen("draw", truth), USAGE, "was drawn from another truth than", "rename it")
    assert (truth / "dataset.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nowhere", ["no truth at", "nowhere"]),
        ("truth/dataset.h5", ["is not a truth: it is the dataset.h5 of a truth"]),
        ("truth --num-train 1", ["1 is not in the range 2<=x<=1000000"]),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(nllgen: Run, truth: Path, arguments: str, words: list[str]) -> None:
    refused(nllgen("draw", *arguments.split()), USAGE, *words)


def interrupt_drawing(truth: Path, num_train: int) -> str:
    """Draw until some images are there, send Ctrl-C, and return the output."""
    command = [NLLGEN, "draw", str(truth), "--num-train", str(num_train), "--num-entropy", "2000", "--threads", "1"]
    give_up = time.monotonic() + 300
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            while not _handles(process.pid, signal.SIGUSR2):  # torch is imported by then, and it sets to work
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < give_up
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 75, output
    assert "Traceback" not in output
    return output


def test_ctrl_c_leaves_no_data_set(truth: Path) -> None:
    (truth / "dataset.h5").unlink()
    interrupt_drawing(truth, 1_000_000)
    assert {path.name for path in truth.iterdir()} == {"truth.pt", "dataset.partial.h5"}


def test_what_was_drawn_before_a_stop_is_not_drawn_again(truth: Path, tmp_path: Path) -> None:
    """The stop comes after each chunk; the data set is that of an undisturbed draw."""
    weights, sizes = truth / "truth.pt", DatasetConfig(num_train=1200, num_val=20, num_test=20, num_entropy=1000)
    paths = [tmp_path / name for name in ("undisturbed.h5", "dataset.h5")]
    draw_dataset(weights, paths[0], sizes, NeverStop(), plain_lines)
    counts = []
    for num_chunks in itertools.count(1):
        counts.append(num_chunks)
        try:
            draw_dataset(weights, paths[1], sizes, StopAfter(1), plain_lines)
            break
        except StoppedError:
            assert not paths[1].exists()
    assert len(counts) == 7  # three chunks of training images, one of each other split, two of the entropy
    first, second = map(read_dataset, paths)
    assert first.numbers == second.numbers
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(first.x[split], second.x[split])
        np.testing.assert_array_equal(first.log_prob[split], second.log_prob[split])
    assert not (tmp_path / "dataset.partial.h5").exists()


class StopAfter(NeverStop):
    """A request to stop after a number of chunks."""

    def __init__(self, num_chunks: int):
        self._left = num_chunks

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("content", [b"", b"nonsense", b"nllgen sha256 " + b"0" * 4000])
def test_a_damaged_part_of_a_data_set_is_drawn_again(nllgen: Run, truth: Path, content: bytes) -> None:
    (truth / "dataset.h5").unlink()
    (truth / "dataset.partial.h5").write_bytes(content)
    assert drawn(nllgen, truth, 500).sizes() == {"train": 500, "val": 20, "test": 20}
    assert not (truth / "dataset.partial.h5").exists()


def test_more_images_than_the_study_has_are_drawn_when_that_is_confirmed(nllgen: Run, tmp_path: Path) -> None:
    text = TINY_WITH_TRUTH
    study_dir, study, _ = freeze(parse_study(text, "g", precision="fp32"), tmp_path)
    assert study.truth is not None
    directory = study_dir.truth(study.truth.id).path
    directory.mkdir(parents=True)
    flow = RealNVP(study.truth.real_nvp)
    (directory / "truth.pt").write_bytes(truth_bytes(study.truth, flow.state_dict()))
    refused(
        nllgen("draw", study_dir.path), USAGE, "70,000 images are to be drawn, and the study tiny has 80",
        "--num-train 40 --num-val 20 --num-test 20", "--yes",
    )  # fmt: skip
    assert drawn(nllgen, directory, 600).sizes()["train"] == 600


def _handles(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has its own handler for a signal (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (number - 1) & 1)


def test_the_density_of_the_tutorial_is_scored(nllgen: Run, truth: Path, tmp_path: Path) -> None:
    """The printed script gives the mean that is computed by hand."""
    (truth / "dataset.h5").unlink()
    dataset = drawn(nllgen, truth, 600)
    (script,) = blocks(SCORE, "py")
    subprocess.run([sys.executable, "-c", script, truth / "dataset.h5", tmp_path / "q.npz"], check=True, timeout=100)
    done = nllgen("score", "--truth", truth, "--log-probs", tmp_path / "q.npz", "--json")
    assert done.returncode == 0, done.stderr
    train, test = (dataset.x[split].astype(float).reshape(-1, 196) for split in ("train", "test"))
    mean, cov = train.mean(0), np.cov(train.T)
    away = np.einsum("ni,ij,nj->n", test - mean, np.linalg.inv(cov), test - mean)
    log_q = -(away + np.linalg.slogdet(2 * math.pi * cov)[1]) / 2
    expected = (dataset.log_prob["test"] - log_q).mean()
    assert 0 < expected == pytest.approx(json.loads(done.stdout)["kl_nats"])


def test_samples_are_scored_and_shown(nllgen: Run, truth: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=5 * np.random.default_rng(0).standard_normal((60, 1, 14, 14)))
    done = nllgen("score", "--truth", truth / "truth.pt", "--samples", "mine.npz", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["num_samples"] == "60"
    assert "±" in lines["reverse_cross_entropy_nats"]
    assert float(lines["frechet_lenet"]) > float(lines["frechet_floor_lenet"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--truth nowhere --log-probs x.npz", ["no truth at"]),
        ("--truth truth --log-probs truth/truth.pt", ["is not a file of arrays: it is a file of weights"]),
        ("--truth truth --samples x.npz --split tset", ["'tset' is not one of"]),
    ],
)
def test_what_cannot_be_scored_is_refused(nllgen: Run, truth: Path, arguments: str, words: list[str]) -> None:
    refused(nllgen("score", *arguments.split()), USAGE, *words)


def test_an_unknown_metric_is_refused_with_the_nearest(nllgen: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    refused(nllgen("evaluate", folder, "--metric", "frechet_infinity"), USAGE, "did you mean frechet_inf?")


def test_a_study_without_results_has_nothing_to_measure(nllgen_process: Run, tmp_path: Path) -> None:
    done = nllgen_process("evaluate", frozen(tmp_path / "runs"), "--metric", "kid")
    assert done.returncode == 0, done.stderr
    assert "0 measured" in done.stdout
    assert "2 without a result" in done.stdout


def test_a_finished_cell_is_measured_once(nllgen: Run, tmp_path: Path, mnist_assets: Path) -> None:
    text = TINY.replace("frechet: []", "frechet: [lenet], every: [], final: []").replace(
        "range: [0, 2]", "range: [0, 1]"
    )
    (tmp_path / "tiny.yaml").write_text(text)
    (cell_id,) = json.loads(nllgen("plan", "--grid", "tiny.yaml", "--json").stdout)["rows"]
    env = {"NLLGEN_ASSETS": str(mnist_assets)}
    done = nllgen("run", "--grid", "tiny.yaml", "--cell", cell_id["id"], "--device", "cpu", **env)
    assert done.returncode == 0, done.stderr
    words = ("evaluate", "runs/tiny", "--metric", "kid", "--metric", "prdc", "--cell", cell_id["id"], "--device", "cpu")
    assert "2 measured, 0 measured before" in nllgen(*words, **env).stdout
    assert "0 measured, 2 measured before" in nllgen(*words, **env).stdout
    (result,) = tmp_path.glob("runs/tiny/cells/*/result.h5")
    assert "kid_lenet" not in read_result(result).final
    assert nllgen("collect", "runs/tiny", **env).returncode == 0
