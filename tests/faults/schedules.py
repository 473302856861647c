"""Leases and publication under any schedule: starts, kills, pauses longer than the lease, late returns."""

from __future__ import annotations

import functools
import hashlib
import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from benchmarks.dummy_worker import small_result
from nllgen.launch.attempt import Attempt
from nllgen.launch.lease import LEASE_S
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.job_env import Job
from nllgen.launch.task_queue import TaskQueue
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.result import model_of, read_attrs, write_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions
from tests.faults.actors import BLOCKED, IDLE, OVER, Hand, Player

GRID = """
name: played
cells:
  - data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: 1, batch_size: 16}
    seed: [0, 1]
"""
COUNTS: Counter[str] = Counter()  # numbers of events, for the table of soak
_MOST_PLAYERS = 5
_PATIENCE = 3_000  # stops after which a player that should end counts as hanging


@functools.cache
def played_study() -> Study:
    """Return a study of two cells without a truth."""
    return parse_study(GRID, "played", precision="fp32")


def _put(path: Path, text: str) -> None:
    path.write_text(text)


def supervise(hand: Hand, study_dir: StudyDir, submission: str, job: Job) -> None:
    """Do a supervisor's and its worker's work for each cell, without the training."""
    cells = {cell.id: cell for cell in played_study().cells}
    queue = TaskQueue(study_dir, submission, job, None, WorkerConfig(RunOptions(Path("assets"))), 0.0)
    while True:
        asked = hand.now
        leased = queue.lease_next()
        if leased is None:
            if not queue.should_wait:
                return
            hand.wait(IDLE)
            continue
        task, lease = leased
        hand.report("leased", task.name, asked, hand.now)
        attempt = Attempt.begin(task, lease, submission, job_facts=job.facts())
        for _ in range(2):  # renews now and then, as a worker slot does
            touched = hand.now
            if lease.renew():
                hand.report("renewed", task.name, touched)
            elif lease.is_lost():
                break
        else:
            small = small_result(cells[task.name])
            model_sha256 = hashlib.sha256(attempt.name.encode()).hexdigest()
            small.attrs.update(host=attempt.name, model_sha256=model_sha256)
            weights = functools.partial(_put, task.task_dir.model(model_sha256), attempt.name)
            if write_result(task.task_dir.result, small, attempt.name, weights):
                hand.report("published", task.name, attempt.name)
            task.task_dir.remove_leftovers(model_of(task.task_dir))
            hand.report("released", task.name)
            queue.note_end(task.name, attempt.end(0, None), 1.0)
            continue
        hand.report("released", task.name)
        queue.note_end(task.name, attempt.end(1, FailureKind.LOST, "another has taken it over"), 1.0)


@dataclass
class Held:
    """A lease that a player holds: its last renewal, and the time by which it was taken."""

    sign: float
    taken: float


@dataclass
class Supervisor:
    """A player, its job, and its leases."""

    player: Player
    job: Job
    held: dict[str, Held] = field(default_factory=dict)


class Schedules(RuleBasedStateMachine):
    """A director that starts, runs, pauses and kills supervisors in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory(prefix="nllgen-schedules-")
        self.study_dir = StudyDir(Path(self._temporary.name) / "played")
        self.study_dir.freeze(played_study())
        self.cells = [cell.id for cell in played_study().cells]
        self.now = 0.0
        self.supervisors: list[Supervisor] = []
        self.published: dict[str, str] = {}
        self.seen: dict[str, tuple[int, str, str]] = {}
        self.can_lock = True
        COUNTS["schedules"] += 1

    @initialize(can_lock=st.sampled_from([True, True, False]))
    def choose_file_system(self, can_lock: bool) -> None:
        self.can_lock = can_lock
        self._start("a", "first", "", 0)

    @rule(host=st.sampled_from("aab"), job=st.sampled_from(["", "7_0", "8_0"]))
    def start(self, host: str, job: str) -> None:
        if len(self._live()) < _MOST_PLAYERS:
            self._start(host, "first", job, 0)

    @precondition(lambda self: self._live())
    @rule(which=st.integers(0, _MOST_PLAYERS), lines=st.integers(1, 60) | st.integers(1, 400))
    def go(self, which: int, lines: int) -> None:
        self._go(self._pick(which), lines)

    @precondition(lambda self: self._live())
    @rule(which=st.integers(0, _MOST_PLAYERS), lines=st.integers(0, 25))
    def go_to_the_next_event(self, which: int, lines: int) -> None:
        """Stop right after a lease, renewal, publication or before a release, where races are likely."""
        supervisor = self._pick(which)
        self._go(supervisor, 500, to_event=True)
        self._go(supervisor, lines)

    @precondition(lambda self: self._live())
    @rule(which=st.integers(0, _MOST_PLAYERS))
    def kill(self, which: int) -> None:
        COUNTS["kills"] += 1
        supervisor = self._pick(which)
        supervisor.player.kill()
        supervisor.held.clear()

    @precondition(lambda self: any(supervisor.job.id for supervisor in self._live()))
    @rule(which=st.integers(0, _MOST_PLAYERS), lives_on=st.booleans())
    def restart_a_job(self, which: int, lives_on: bool) -> None:
        scheduled = [supervisor for supervisor in self._live() if supervisor.job.id]
        old = scheduled[which % len(scheduled)]
        if not lives_on:
            old.player.kill()
        old.held.clear()  # its successor may take its leases at once
        self._start("b", "first", old.job.id, old.job.restarts + 1)

    @rule(seconds=st.sampled_from([1.0, 31.0, LEASE_S + 1, 4 * LEASE_S]))
    def pass_time(self, seconds: float) -> None:
        COUNTS["pauses longer than the lease"] += seconds > LEASE_S
        self.now += seconds

    @invariant()
    def published_results_stay(self) -> None:
        for cell in self.cells:
            path = self.study_dir.cell(cell).result
            if path.exists():
                inode, host = path.stat().st_ino, read_attrs(path)["host"]
                weights = model_of(self.study_dir.cell(cell)).read_text()
                assert self.seen.setdefault(cell, (inode, host, weights)) == (inode, host, weights)
                assert weights == host
                assert self.published.get(cell) in (None, host)
            assert path.exists() or cell not in self.seen

    def teardown(self) -> None:
        try:
            self._recover()
            for supervisor in self._live():  # late returns
                self._run_to_end(supervisor)
            self.published_results_stay()
            assert set(self.seen) == set(self.cells)
        finally:
            for supervisor in self.supervisors:
                supervisor.player.kill()
            self._temporary.cleanup()

    def _recover(self) -> None:
        """Submit again while all other supervisors hang; check that all cells are done once the leases have expired."""
        last = self._start("c", "second", "", 0)
        for _ in range(_PATIENCE):
            why = self._go(last, 1_000)
            if why == OVER:
                break
            self.now += LEASE_S / 2 if why == IDLE else 0.0
            if why == BLOCKED:  # another hangs while it has the lock: only killing it releases the lock
                for supervisor in self._live():
                    if supervisor is not last:
                        supervisor.player.kill()
        missing = [cell for cell in self.cells if not self.study_dir.cell(cell).result.exists()]
        assert not missing, "a cell is lost"
        self.published_results_stay()

    def _run_to_end(self, supervisor: Supervisor) -> None:
        for _ in range(_PATIENCE):
            if self._go(supervisor, 1_000) == OVER:
                return
            self.now += LEASE_S
        raise AssertionError("a supervisor does not end although all is done")

    def _start(self, host: str, submission: str, job: str, restarts: int) -> Supervisor:
        COUNTS["supervisors"] += 1
        where = Job(job, 0, restarts, math.inf, 1, (0,), ())
        play = functools.partial(supervise, study_dir=self.study_dir, submission=submission, job=where)
        self.supervisors.append(Supervisor(Player(play, host, can_lock=self.can_lock), where))
        return self.supervisors[-1]

    def _go(self, supervisor: Supervisor, lines: int, *, to_event: bool = False) -> str:
        why = supervisor.player.go(lines, self.now, to_event=to_event)
        for event in supervisor.player.events:
            self._record(supervisor, *event)
        return why

    def _record(self, supervisor: Supervisor, what: str, cell: str, *more: object) -> None:
        if what == "leased":
            asked, taken = (float(str(value)) for value in more)
            supervisor.held[cell] = Held(asked, taken)
            self._check_exclusive(supervisor, cell)
        elif what == "renewed" and cell in supervisor.held:
            supervisor.held[cell].sign = float(str(more[0]))
        elif what == "released":
            supervisor.held.pop(cell, None)
        elif what == "published":
            COUNTS["results published"] += 1
            assert cell not in self.published, "two accepted results"
            self.published[cell] = str(more[0])

    def _check_exclusive(self, new: Supervisor, cell: str) -> None:
        """Check that nobody else holds a lease, unless its holder did not renew it in time or its job was restarted.

        A file system without locks is not checked. A holder that was rightly overtaken no longer holds the lease,
        whether or not it knows.
        """
        for other in self._live():
            if other is new or cell not in other.held or cell not in new.held or not self.can_lock:
                continue
            overtaken = [one for one, by in ((other, new), (new, other)) if _may_overtake(by, one, cell)]
            assert overtaken, "two hold one lease"
            del overtaken[0].held[cell]

    def _live(self) -> list[Supervisor]:
        return [supervisor for supervisor in self.supervisors if not supervisor.player.is_over]

    def _pick(self, which: int) -> Supervisor:
        live = self._live()
        return live[which % len(live)]


def _may_overtake(by: Supervisor, one: Supervisor, cell: str) -> bool:
    """Return whether ``by`` may take a lease of ``one``: its job was restarted, or its lease expired."""
    anew = bool(one.job.id) and one.job.id == by.job.id and one.job.restarts < by.job.restarts
    return anew or by.held[cell].taken - one.held[cell].sign > LEASE_S
