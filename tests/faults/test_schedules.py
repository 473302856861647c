"""No schedule of claims, kills, long pauses and late returns accepts two results or loses a cell."""

import functools

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.faults.actors import OVER, Player
from benchmarks.faults.schedules import COUNTS, Schedules
from nllgen.launch.claims import LEASE_S, Claims


def test_no_schedule_accepts_two_results_or_loses_a_cell(profile):
    COUNTS.clear()
    run_state_machine_as_test(Schedules, settings=settings(profile, stateful_step_count=50))
    assert COUNTS["schedules"] >= profile.max_examples
    num_faults = profile.max_examples // 2  # what is drawn changes: 40 schedules once had 29 kills
    assert COUNTS["kills"] > num_faults
    assert COUNTS["pauses longer than the lease"] > num_faults


def hold(hand, path):
    """Take a claim, and let it go when that is asked for."""
    claims = Claims()
    while (claim := claims.take(path)) is None:
        hand.wait("refused")
    hand.wait("taken")
    claim.release()


def until(player, why, now):
    """Let it go on until it says so."""
    while player.go(1_000, now) != why:
        assert not player.is_over


def test_a_late_release_never_takes_away_the_claim_of_another(tmp_path):
    """Held between its look and its deed, for longer than the lease, at every line of it."""
    for lines in range(1, 40):
        path = tmp_path / str(lines) / "claim"
        late, next_, third = (Player(functools.partial(hold, path=path), host) for host in "abc")
        try:
            until(late, "taken", 0.0)
            until(next_, "refused", 0.0)
            if late.go(lines, 0.0) == OVER:
                break
            why = next_.go(1_000, LEASE_S + 1)
            if why == "blocked":  # it was held within the lock: nobody can take over
                late.kill()
                continue
            until(late, OVER, LEASE_S + 1)
            if why == "taken":
                assert third.go(1_000, LEASE_S + 1) == "refused"
        finally:
            for player in (late, next_, third):
                player.kill()
    assert lines > 2
