"""The worker, on real MNIST: killed anywhere and started again, it ends with the same bits.

What is said of a process is tested with one, started as a supervisor starts it, or forked where many are needed; what
is said of files is tested in this process.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time

import h5py
import pytest
import torch

from nllgen.data.truth import load_tensors, to_bytes
from nllgen.errors import IncompleteError, MachineError, NllgenError
from nllgen.launch.freeze import freeze
from nllgen.storage.collect import collect
from nllgen.storage.dataset import read_dataset
from nllgen.storage.result import read_result, write_result
from nllgen.study.load import parse_study
from nllgen.worker.setup import device_of, enter
from tests.forked import Forked
from tests.tiny_studies import quick_critic

GRID = """
name: tiny
truth:
  data: {source: mnist, image_size: 7, num_train: 500, num_val: 200, num_test: 200}
  flow: {width: 4, blocks: 1, scales: 1}
  paradigm: {name: nll, steps: 40, batch_size: 32, eval_every: 20}
  seed: 0
dataset: {num_train: 200, num_val: 200, num_test: 200, num_entropy: 500}
metrics: {frechet: [lenet], num_samples: 100, num_train_eval: 100, num_kept: 4}
cells:
  - data: {source: synthetic, num_train: 100}
    degree: [W, W*]
    paradigm: {name: nll, steps: 150, batch_size: 32, eval_every: 50}
  - data: {source: synthetic, num_train: fresh}
    degree: W
    start: truth
    paradigm:
      name: nsgan
      steps: 60
      batch_size: 16
      eval_every: 20
      r1_gamma: 0.5
      instance_noise: 0.1
      disc_start: pretrained
      disc_pretrain_steps: 30
"""


def command(folder, assets, *more):
    """A worker's command line, after ``nllgen``."""
    how = ["--assets", str(assets), "--threads", "1", "--device", "cpu"]
    return ["worker", str(folder.path), *how, *more]


@contextlib.contextmanager
def ordered(folder, task, assets):
    """A worker that has been ordered one task; its standard input is closed at the end of the block, where it ends."""
    words = [sys.executable, "-m", "nllgen", *command(folder, assets)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        order(worker, folder, task)
        yield worker
        worker.stdin.close()
        worker.wait(timeout=120)


def order(worker, folder, task, attempt="a", log="log.txt"):
    values = {"task": task, "attempt": attempt, "attempts": 1, "log": str(folder.path / log)}
    worker.stdin.write(json.dumps(values).encode() + b"\n")
    worker.stdin.flush()


def answer(worker):
    """Its next answer; None where it ends without one."""
    line = worker.stdout.readline()
    return json.loads(line) if line else None


def work(folder, task, assets):
    """Run a task to its end in this process; the exit code that a worker would answer."""
    before = torch.get_num_threads()
    try:
        enter(folder, task, 1, "cpu", assets, lambda: False, attempt=f"a{random.random()}")
    except NllgenError as error:
        return error.exit_code
    finally:
        torch.set_num_threads(before)
    return 0


def written(task):
    """When its checkpoints were written; one that is replaced meanwhile counts as gone."""
    times = []
    for path in task.checkpoints():
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return times


def wait_for_progress(worker, task):
    """Until a checkpoint is written anew, or the worker ends."""
    before = written(task)
    while worker.returncode is None and written(task) == before:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def study():
    return parse_study(GRID, "tiny.yaml", precision="fp32")


@pytest.fixture(scope="module", autouse=True)
def _quick_critic():
    with quick_critic():
        yield


@pytest.fixture(scope="module")
def done(finished_study):
    """The study with its truth trained, its data drawn and its cells run; not to be changed."""
    return finished_study(GRID, with_quick_critic=True)


@pytest.fixture
def prepared(done, copy_of):
    """The same, with cells that have not run, and with what a test makes of it."""
    folder = copy_of(done)
    shutil.rmtree(folder.path / "cells")
    return folder


def test_the_data_set_has_the_contracts_layout(done, study):
    path = done.dataset(study.truth.id)
    with h5py.File(path) as file:
        for split in ("train", "val", "test"):
            assert file[f"{split}/x"].shape == (200, 1, 7, 7)
            assert file[f"{split}/x"].dtype == "float32"
            assert file[f"{split}/log_prob"].dtype == "float64"
            assert file[f"{split}/log_prob"].attrs["unit"] == "nats"
        assert {"schema", "truth_id", "truth_sha256", "entropy_nats", "entropy_se_nats"} <= set(file.attrs)


def test_entropy_agrees_with_the_validation_nll_of_the_truth(done, study):
    dataset = read_dataset(done.dataset(study.truth.id))
    nll = -dataset.log_prob["val"]
    spread = (nll.var() / len(nll) + dataset.numbers["entropy_se_nats"] ** 2) ** 0.5
    assert abs(nll.mean() - dataset.numbers["entropy_nats"]) < 4 * spread


def test_the_control_at_the_truth_measures_zero_to_the_stated_error(done, study):
    control = next(cell for cell in study.cells if cell.degree == "W*")
    final = read_result(done.cell(control.id).result).final
    assert abs(final["kl_nats"][0]) < 3e-5
    assert abs(final["reverse_kl_nats"][0]) < 3e-5


def test_a_finished_task_is_not_run_again(prepared, study, mnist_assets):
    before = prepared.truth(study.truth.id).result.stat().st_mtime_ns
    assert work(prepared, "truth", mnist_assets) == 0
    assert prepared.truth(study.truth.id).result.stat().st_mtime_ns == before


def test_closing_standard_input_stops_the_worker_with_its_state_saved(prepared, study, mnist_assets):
    cell = study.cells[0]
    long = prepared.cell(cell.id)
    with ordered(prepared, cell.id, mnist_assets) as worker:
        worker.stdin.close()
        assert answer(worker)["exit_code"] == 75
    assert worker.returncode == 75
    assert len(long.checkpoints()) == 1
    assert not long.result.exists()


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 2])
def test_killed_at_random_moments_it_ends_with_the_same_bits(done, prepared, study, mnist_assets, index):
    cell = study.cells[index]
    task = prepared.cell(cell.id)
    undisturbed = read_result(done.cell(cell.id).result)
    rng, kills = random.Random(index), 0
    while not task.result.exists():
        with Forked(command(prepared, mnist_assets, "--checkpoint-steps", "3")) as worker:
            order(worker, prepared, cell.id, attempt=f"a{random.random()}")
            if kills < 4:
                wait_for_progress(worker, task)
                time.sleep(rng.random() * 0.3)
                worker.kill()
                kills += 1
            answer(worker)
    again = read_result(task.result)
    assert kills >= 1
    assert again.attrs["science_sha256"] == undisturbed.attrs["science_sha256"]
    assert again.attrs["model_sha256"] == undisturbed.attrs["model_sha256"]
    assert not list(task.path.glob("*.part"))
    assert not task.checkpoints()


def test_a_grown_pool_begins_with_the_old_one(prepared, study, mnist_assets):
    path = prepared.dataset(study.truth.id)
    before = read_dataset(path)
    larger = study.model_copy(update={"dataset": study.dataset.model_copy(update={"num_train": 900})})
    freeze(larger, prepared.path.parent)
    assert work(prepared, "dataset", mnist_assets) == 0
    after = read_dataset(path)
    assert after.sizes()["train"] == 900
    assert (after.x["train"][:200] == before.x["train"]).all()
    assert (after.log_prob["train"][:200] == before.log_prob["train"]).all()
    assert after.numbers["entropy_nats"] == before.numbers["entropy_nats"]


def test_a_diverged_truth_is_not_frozen(study, mnist_assets, tmp_path):
    wild = study.truth.paradigm.model_copy(update={"lr": 10.0, "schedule": "constant"})
    truth = study.truth.model_copy(update={"paradigm": wild})
    cells = tuple(cell for cell in study.cells if cell.start == "random")
    data = {cell.id: cell.data.model_copy(update={"truth_id": truth.id}) for cell in cells}
    cells = tuple(cell.model_copy(update={"data": data[cell.id]}) for cell in cells)
    folder, frozen, _ = freeze(study.model_copy(update={"truth": truth, "cells": cells}), tmp_path)
    assert work(folder, "truth", mnist_assets) == 1
    assert read_result(folder.truth(frozen.truth.id).result).attrs["outcome"] == "diverged"
    assert not folder.truth_weights(frozen.truth.id).exists()


def test_a_result_of_another_truth_is_made_again(done, prepared, study, mnist_assets, tmp_path):
    """Its truth was trained anew elsewhere: the same cell, other weights behind its data."""
    control = next(cell for cell in study.cells if cell.degree == "W*")
    task = prepared.cell(control.id)
    result = read_result(done.cell(control.id).result)
    result.attrs["truth_sha256"] = "0" * 64
    del result.attrs["science_sha256"], result.attrs["schema"]
    task.path.mkdir(parents=True)
    assert write_result(task.result, result, "foreign", lambda: None)
    assert prepared.found((control,))[control.id].detail == "made with another truth than the data set's"
    with pytest.raises(IncompleteError, match="another truth"):
        collect(prepared, tmp_path / "study.h5", reference={})
    assert work(prepared, control.id, mnist_assets) == 0
    assert read_result(task.result).attrs["truth_sha256"] == read_dataset(prepared.dataset(study.truth.id)).truth_sha256


def test_an_unknown_task_is_refused_without_a_traceback_and_the_next_is_left_to_a_new_process(prepared, mnist_assets):
    with ordered(prepared, "0" * 16, mnist_assets) as worker:
        with contextlib.suppress(BrokenPipeError):
            order(worker, prepared, "truth")
        found, after = answer(worker), answer(worker)
    assert (found["exit_code"], "has no cell" in found["reason"], worker.returncode) == (2, True, 2)
    assert after is None
    log = (prepared.path / "log.txt").read_text()
    assert "has no cell" in log
    assert "Traceback" not in log


def test_a_device_that_is_not_there_is_an_environment_error(prepared, study, mnist_assets):
    with Forked(command(prepared, mnist_assets, "--device", "cuda:7")) as worker:
        order(worker, prepared, study.cells[0].id)
        found = answer(worker)
    assert (found["exit_code"], "cuda:7" in found["reason"]) == (3, True)


def test_one_worker_runs_one_task_after_another_each_with_its_own_log(prepared, study, mnist_assets):
    with ordered(prepared, "truth", mnist_assets) as worker:
        assert answer(worker)["exit_code"] == 0
        order(worker, prepared, "dataset", "b1", "other.txt")
        assert answer(worker) == {"attempt": "b1", "exit_code": 0, "reason": ""}
    assert worker.returncode == 0
    assert "dataset.h5" in (prepared.path / "other.txt").read_text()


def test_a_damaged_data_set_is_moved_aside_and_drawn_again(prepared, study, mnist_assets):
    path = prepared.dataset(study.truth.id)
    before = read_dataset(path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert work(prepared, "dataset", mnist_assets) == 0
    assert (read_dataset(path).x["val"] == before.x["val"]).all()
    assert path.with_name("dataset.h5.damaged").exists()


def test_a_truth_whose_weights_were_lost_is_trained_again_to_the_same_bits(prepared, study, mnist_assets):
    folder, frozen = prepared.truth(study.truth.id), prepared.truth_weights(study.truth.id)
    before = frozen.read_bytes()
    content = load_tensors(folder.model)
    next(iter(content["weights"]["best"].values())).add_(1)
    folder.model.write_bytes(to_bytes(content))
    frozen.unlink()
    assert work(prepared, "truth", mnist_assets) == 0
    assert frozen.read_bytes() == before


def test_a_finished_cell_is_told_to_be_there(mixed_study, mnist_assets, capsys):
    cell = mixed_study.read_study().cells[0]
    enter(mixed_study, cell.id, 1, "cpu", mnist_assets, lambda: False, attempt="again")
    assert "already there" in capsys.readouterr().out


def test_a_device_that_is_not_to_be_had_is_named():
    with pytest.raises(MachineError, match="cuda:99 is not to be had"):
        device_of("cuda:99")
