"""No schedule of leases, kills, long pauses and late returns accepts two results or loses a cell."""

from __future__ import annotations

import functools
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from nllgen.launch.lease import LEASE_S, LeaseManager
from tests.faults.actors import OVER, Hand, Player
from tests.faults.schedules import COUNTS, Schedules


def test_no_schedule_accepts_two_results_or_loses_a_cell(profile: settings) -> None:
    COUNTS.clear()
    run_state_machine_as_test(Schedules, settings=settings(profile, stateful_step_count=50))
    assert COUNTS["schedules"] >= profile.max_examples
    num_faults = profile.max_examples // 2  # a low bound: 40 schedules once drew 29 kills
    assert COUNTS["kills"] > num_faults
    assert COUNTS["pauses longer than the lease"] > num_faults


def hold(hand: Hand, path: Path) -> None:
    """Take a lease, and release it when told to go on."""
    leases = LeaseManager()
    while (lease := leases.take(path)) is None:
        hand.wait("refused")
    hand.wait("taken")
    lease.release()


def run_until(player: Player, why: str, now: float) -> None:
    """Run a player until it stops for this reason."""
    while player.go(1_000, now) != why:
        assert not player.is_over


def test_a_late_release_never_takes_away_the_lease_of_another(tmp_path: Path) -> None:
    """The release is paused for longer than the lease at each of its lines, between its check and its removal."""
    for lines in range(1, 40):
        path = tmp_path / str(lines) / "lease"
        late, next_, third = (Player(functools.partial(hold, path=path), host) for host in "abc")
        try:
            run_until(late, "taken", 0.0)
            run_until(next_, "refused", 0.0)
            if late.go(lines, 0.0) == OVER:
                break
            why = next_.go(1_000, LEASE_S + 1)
            if why == "blocked":  # it was paused inside the lock: nobody can take over
                late.kill()
                continue
            run_until(late, OVER, LEASE_S + 1)
            if why == "taken":
                assert third.go(1_000, LEASE_S + 1) == "refused"
        finally:
            for player in (late, next_, third):
                player.kill()
    assert lines > 2
