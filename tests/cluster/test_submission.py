"""Studies go to the cluster whole, once, and as they were submitted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.devcluster import Cluster
from tests.cluster.scenarios import Early
from tests.cluster.studies import REAL, OnCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Make = Callable[..., OnCluster]


@pytest.fixture(scope="module")
def finished(early: Early) -> OnCluster:
    """Return a study that the cluster has run from its truth to its collection."""
    study: OnCluster = early["smoke"].result()
    return study


def test_the_cluster_and_a_local_run_have_equal_results(finished: OnCluster, make_study: Make) -> None:
    local = make_study("smoke", seeds=2, at="local")
    local.run_locally()
    assert finished.science() == local.science()
    assert len(finished.science()) == 3


def test_the_last_job_collects(finished: OnCluster) -> None:
    assert (finished.folder.path / "study.h5").exists()


def test_every_job_of_a_study_without_failures_is_completed(finished: OnCluster) -> None:
    assert list(finished.job_states().values()) == [{"COMPLETED"}] * 4


def test_a_second_submission_sends_nothing(finished: OnCluster) -> None:
    assert "nothing to send: all is done" in finished.submit()
    assert finished.queue() == []


def test_a_finished_cell_leaves_six_files_at_most(finished: OnCluster) -> None:
    (array,) = finished.folder.submitit.glob("*/cells0.pkl")
    logs = [
        path
        for path in array.parent.iterdir()
        if path.name.startswith(f"{_cells_job(finished)}_") and path.suffix != ".sh"
    ]
    in_cells = [path for cell in finished.cells() for path in finished.folder.cell(cell).path.iterdir()]
    assert (len(in_cells) + len(logs)) / len(finished.cells()) <= 6, [*in_cells, *logs]


def _cells_job(study: OnCluster) -> str:
    from nllgen.launch.slurm.arrays import submissions

    ((where, _),) = submissions(study.folder)
    return where.job_ids()["cells0"]


def test_the_submitted_program_runs_although_the_original_changes(early: Early) -> None:
    study = early["changed"].result()
    assert [study.ends(cell) for cell in study.cells()] == [["done"]]
    assert (study.folder.path / "study.h5").exists()


def test_an_array_larger_than_the_limit_is_split(make_study: Make, cluster: Cluster) -> None:
    study = make_study("large", text=REAL, seeds=230, sbatch={"hold": True})
    output = study.submit()
    rows = study.queue()
    sizes = {name: sum(row[1].endswith(name) for row in rows) for name in ("cells0", "cells1", "cells2", "cells3")}
    assert sizes == {"cells0": 101, "cells1": 101, "cells2": 28, "cells3": 0}, output
    study.cancel()


def test_arrays_together_keep_to_the_parallelism_of_the_profile(early: Early) -> None:
    study, at_once = early["turns"].result()
    assert 1 <= at_once <= 2
    assert [study.ends(cell) for cell in study.cells()] == [["done"]] * 4


def test_a_packed_array_has_as_many_fewer_elements(make_study: Make) -> None:
    study = make_study("packed", text=REAL, seeds=7, sbatch={"hold": True})
    study.submit("--pack", "3")
    assert sum(row[1].endswith("cells0") for row in study.queue()) == 3
    study.cancel()


def test_two_submitters_at_once_send_nothing_twice(make_study: Make) -> None:
    study = make_study("twice", seeds=2, sbatch={"hold": True})
    pair = [study.start(), study.start()]
    outputs = [process.communicate(timeout=500)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert sorted(row[1].partition(":")[2] for row in study.queue()) == ["cells0"] * 2 + ["collect", "dataset", "truth"]
    study.cancel()


def test_variables_of_an_outer_job_do_not_leak(make_study: Make) -> None:
    outer = {"SLURM_JOB_ID": "1", "SBATCH_PARTITION": "nowhere", "SLURM_ARRAY_TASK_ID": "3", "SLURM_MEM_PER_NODE": "9"}
    study = make_study("outer", environ=outer, sbatch={"hold": True})
    study.submit()
    assert len(study.queue("-p", "short")) == 4
    study.cancel()


def test_an_account_of_the_users_shell_is_used_and_named(make_study: Make, cluster: Cluster) -> None:
    study = make_study("exported", environ={"SBATCH_ACCOUNT": "root", "SBATCH_PARTITION": "nowhere"}, seeds=2)
    sentence = 'from your shell: SBATCH_ACCOUNT="root": used, since the profile does not set it'
    shown = study.submit("--dry-run")
    assert sentence in shown
    assert "#SBATCH --account=root" in shown
    assert 'SBATCH_PARTITION="nowhere": not used: the profile sets it' in shown
    assert sentence in study.submit()
    jobs = {row[0].partition("_")[0] for row in study.queue("-p", "short")}
    assert {account for job in jobs for account in cluster.field(job, "Account")} == {"root"}
    study.cancel()


def test_a_job_can_submit(make_study: Make, cluster: Cluster) -> None:
    study = make_study("inside", sbatch={"hold": True})
    words = " ".join(["exec", "env", f"NLLGEN_ASSETS={study.assets}", *study.command()])
    job = cluster.sbatch("--mem=1000", f"--output={study.base}/out.txt", script=words)
    cluster.wait_state(job, "COMPLETED", "FAILED")
    assert len(study.queue()) == 4, (study.base / "out.txt").read_text()
    study.cancel()
