"""The state machines of engine and store, in runs of their own, one a CPU, until the time is over.

As a program (`python -m tests.torture.rows.machines MACHINE SEED EXAMPLES`) it runs one machine and prints how many
steps it made.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.integration.test_store_model import StoreMachine
from tests.replacing import PROJECT
from tests.torture.lanes import side_by_side
from tests.torture.report import Report
from tests.unit.test_core_world import AnyWorld

NAME = "machines"
ASKS = "hypothesis state machines for engine and store: 1,000,000 steps"

MACHINES: dict[str, type[RuleBasedStateMachine]] = {"engine": AnyWorld, "store": StoreMachine}
STEPS = {"engine": 50, "store": 20}
"""Of an example, at most."""
EXAMPLES = {"engine": 200, "store": 50}
"""Of one run: some seconds."""
SLOWEST_RUN_S = 300.0


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    """A round is a step. `rounds`: so many at least."""
    end = time.monotonic() + seconds
    report = Report()
    steps = dict.fromkeys(MACHINES, 0)

    def chosen() -> Iterator[tuple[str, int]]:
        for number in itertools.count(seed):
            if rounds is not None and report.rounds >= rounds:
                return
            yield "store" if number % 4 == 0 else "engine", number

    def one(_: None, what: tuple[str, int]) -> None:
        machine, number = what
        command = [sys.executable, "-m", "tests.torture.rows.machines", machine, str(number), str(EXAMPLES[machine])]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=SLOWEST_RUN_S, check=False)
        if done.returncode:
            report.fail(f"{' '.join(command[1:])}: {done.stdout[-2000:]} {done.stderr[-4000:]}")
            return
        steps[machine] += int(done.stdout)
        report.rounds += int(done.stdout)

    side_by_side(chosen(), nullcontext, one, end)
    report.figures = {f"steps of the {machine}": str(number) for machine, number in steps.items()}
    return report


def main(name: str, number: str, examples: str) -> None:
    steps = 0
    machine = MACHINES[name]

    class Counted(machine):  # type: ignore[misc, valid-type]  # chosen by name
        def check_invariants(self, *given: object, **named: object) -> None:
            """Called once at the start and after each step."""
            nonlocal steps
            steps += 1
            super().check_invariants(*given, **named)

    Counted.__name__ = machine.__name__
    run_state_machine_as_test(
        seed(int(number))(Counted),
        settings=settings(
            max_examples=int(examples),
            stateful_step_count=STEPS[name],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(steps)


if __name__ == "__main__":
    main(*sys.argv[1:])
