"""kill -9 of daemon, template and workers at random moments: the quick form of `./dev torture --row kills`."""

from __future__ import annotations

import random

import pytest

from tests.torture.rounds import Torture

ROUNDS = 12


@pytest.mark.timeout(170)
def test_kills_at_random_moments_lose_nothing_leave_no_temp_and_do_no_file_twice() -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"again with: ./dev torture --row kills --rounds {ROUNDS} --seed {seed}")
    with Torture(seed) as torture:
        torture.run(ROUNDS, settle_every=6)
    verdict = torture.verdict
    assert verdict.failures == []
    assert verdict.rounds == ROUNDS
    assert sum(number for what, number in verdict.kills.items() if "daemon" in what) >= 1
    assert verdict.checked > ROUNDS
