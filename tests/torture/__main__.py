"""`python -m tests.torture --rounds 200 --seed S`: the long form. The seed is printed: a failure can be repeated."""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.torture import Torture


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.torture", description="kill -9 at random moments.")
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    chosen = options.parse_args()
    print(f"seed {chosen.seed}")
    started = time.monotonic()
    with Torture(chosen.seed) as torture:
        torture.run(chosen.rounds)
    verdict = torture.verdict
    kills = ", ".join(f"{what} {number}" for what, number in verdict.kills.most_common())
    print(f"{verdict.rounds} rounds in {time.monotonic() - started:.0f} s; kills: {kills}")
    print(f"{verdict.killed_under_load} of the killed daemons had unfinished files; {verdict.files} contents dropped")
    print(f"{verdict.checked} files looked at by the checker, {len(verdict.failures)} failures")
    if not verdict.failures:
        # Rule of three: what never happened in N trials happens, with 95 % confidence, in fewer than 3/N of them.
        print(f"upper bound of the failure rate (95 %): 3/{verdict.rounds} = {3 / verdict.rounds:.3f} a round")
    return 1 if verdict.failures else 0


if __name__ == "__main__":
    sys.exit(main())
