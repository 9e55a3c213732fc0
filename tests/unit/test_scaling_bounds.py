"""The lower bounds: true of everything that can happen, and as large as hand and brute force find them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling import exact
from benchmarks.scaling.bounds import Bound, Capacity, bound
from benchmarks.scaling.exact import Block
from benchmarks.scaling.trace import IDLE_BYTES, SUPERVISOR_BYTES, Change, Trace, TraceJob

MIB = 1 << 20


def job(number: int, at_s: float, cpu_s: float, peak: int) -> TraceJob:
    return TraceJob(at_s, f"j{number}", False, "f", 1000, 1000, "jpeg", cpu_s, peak, peak, cpu_s)


def trace(jobs: list[tuple[float, float, int]], *changes: Change) -> Trace:
    """Jobs as (arrival, CPU seconds, peak in MiB with the worker's own)."""
    made = [job(number, at_s, cpu_s, mib * MIB - IDLE_BYTES) for number, (at_s, cpu_s, mib) in enumerate(jobs)]
    return Trace("t", tuple(made), changes)


def machine(cpus: int, mib: int, *, at_s: float = 0.0, busy: float = 0.0, held_mib: int = 0) -> Change:
    """A machine with that many MiB for workers, where nobody else holds any."""
    return Change(at_s, cpus, mib * MIB + SUPERVISOR_BYTES, busy, held_mib * MIB)


def assert_bound(found: Bound, seconds: float, binds: str) -> None:
    assert found.binds == binds
    assert found.seconds == pytest.approx(seconds)


def test_many_small_jobs_are_bound_by_the_cpus() -> None:
    assert_bound(bound(trace([(0, 1, 10)] * 100, machine(4, 10_000))), 25, "cpu")


def test_a_single_job_is_bound_by_its_path() -> None:
    assert_bound(bound(trace([(2, 3, 10)], machine(4, 10_000))), 3, "path")


def test_work_that_comes_late_cannot_use_the_time_before() -> None:
    found = bound(trace([(0, 1, 10), *[(10, 1, 10)] * 80], machine(4, 10_000)))
    assert_bound(found, 10 + 20, "cpu")


def test_a_neighbour_takes_cpus_away_but_never_the_last_fiftieth() -> None:
    busy = trace([(0, 1, 10)] * 40, machine(4, 10_000, busy=2))
    assert_bound(bound(busy), 20, "cpu")
    full = trace([(0, 0.1, 10)] * 40, machine(1, 10_000, busy=5))
    assert_bound(bound(full), 4 / 0.02, "cpu")


def test_cpus_that_come_later_count_from_then_on() -> None:
    found = bound(trace([(0, 1, 10)] * 40, machine(1, 10_000), machine(4, 10_000, at_s=10)))
    assert_bound(found, 10 + 30 / 4, "cpu")


def test_memory_binds_where_few_fit_at_once() -> None:
    found = bound(trace([(0, 8, 100)] * 40, machine(16, 400)))
    assert found.binds == "memory"
    assert found.seconds >= 40 * 8 * 7 / 8 / 4 - 1e-9


def test_no_two_jobs_above_half_of_the_memory_run_side_by_side() -> None:
    # By bytes alone 60 of 100 MiB would let five run in the time of three.
    found = bound(trace([(0, 8, 60)] * 40, machine(16, 100)))
    assert found.binds == "memory"
    assert found.seconds >= 40 * 6


def test_a_job_waits_until_the_machine_has_grown() -> None:
    found = bound(trace([(0, 4, 500)], machine(2, 100), machine(2, 1000, at_s=50)))
    assert_bound(found, 53, "path")  # its first quarter is grown before, in less room


def test_jobs_that_nobody_can_do_are_left_out() -> None:
    assert_bound(bound(trace([(0, 4, 500), (1, 1, 10)], machine(2, 100))), 2, "path")
    assert bound(trace([(0, 4, 500)], machine(2, 100))) == Bound(0.0, "path")


def test_with_few_jobs_the_optimum_is_found() -> None:
    # Three jobs of 2 s on two CPUs: areas say 3 s, but one CPU has two of them.
    assert_bound(bound(trace([(0, 2, 10)] * 3, machine(2, 1000))), 4, "cpu")


def test_an_optimum_is_bound_by_memory_when_more_of_it_would_help() -> None:
    found = bound(trace([(0, 4, 60)] * 2, machine(2, 100)))
    assert_bound(found, 4 + 3, "memory")  # the second grows while the first still holds its bytes


def test_a_search_that_takes_too_long_is_given_up() -> None:
    blocks = [Block(0.0, 1 + number / 7, 20 + number) for number in range(12)]
    assert exact.search(blocks, slots=5, room=100, ramp=0.25, nodes=3) is None


# ---- against every schedule there is --------------------------------------------------------------------------------

few_blocks = st.lists(
    st.builds(Block, st.integers(0, 6).map(float), st.integers(1, 3).map(lambda n: 4.0 * n), st.integers(1, 10)),
    min_size=1,
    max_size=6,
)


def placed_in_order(blocks: tuple[Block, ...], slots: int, room: int) -> float:
    """Backwards in time: each block as early as it fits between those before it, wherever they start."""
    placed: list[tuple[float, Block]] = []

    def fits(start: float, block: Block) -> bool:
        everyone = [*placed, (start, block)]
        return all(
            sum(b.size for s, b in everyone if s <= moment < s + 0.75 * b.seconds) <= room
            and sum(1 for s, b in everyone if s <= moment < s + b.seconds) <= slots
            for moment, _ in everyone
        )

    for block in blocks:
        ends = {0.0, *(s + b.seconds for s, b in placed), *(s + 0.75 * b.seconds for s, b in placed)}
        placed.append((min(start for start in ends if fits(start, block)), block))
    return max(start + block.seconds + block.at_s for start, block in placed)


@settings(max_examples=40)
@given(few_blocks, st.integers(1, 3))
def test_the_search_finds_what_trying_every_order_finds(blocks: list[Block], slots: int) -> None:
    found = exact.search(blocks, slots=slots, room=10, ramp=0.25)
    assert found is not None
    assert found.seconds == pytest.approx(
        min(placed_in_order(order, slots, 10) for order in itertools.permutations(blocks))
    )


def forwards(blocks: list[Block], starts: tuple[int, ...], slots: int, room: int) -> bool:
    """Whether these starts break no limit, forwards in time as the machine lives."""
    moments = {*starts, *(start + 0.25 * block.seconds for start, block in zip(starts, blocks, strict=True))}
    pairs = list(zip(starts, blocks, strict=True))
    return all(
        sum(b.size for s, b in pairs if s + 0.25 * b.seconds <= moment < s + b.seconds) <= room
        and sum(1 for s, b in pairs if s <= moment < s + b.seconds) <= slots
        for moment in moments
    )


@settings(max_examples=15)
@given(few_blocks.map(lambda blocks: blocks[:3]), st.integers(1, 2))
def test_the_search_finds_what_trying_every_start_finds(blocks: list[Block], slots: int) -> None:
    horizon = int(sum(block.seconds for block in blocks) + max(block.at_s for block in blocks))
    found = exact.search(blocks, slots=slots, room=10, ramp=0.25)
    best = min(
        max(start + block.seconds for start, block in zip(starts, blocks, strict=True))
        for starts in itertools.product(*(range(int(block.at_s), horizon + 1) for block in blocks))
        if forwards(blocks, starts, slots, 10)
    )
    assert found is not None and found.seconds == pytest.approx(best)


RATES = st.just(0.0) | st.floats(0.001, 3)
"""Of CPUs: none, or some of a size that floats can add up."""


@given(st.lists(st.tuples(st.floats(0.1, 5), RATES), min_size=1, max_size=5), st.floats(0, 20))
def test_a_capacity_is_reached_when_its_sum_says_so(steps: list[tuple[float, float]], at_s: float) -> None:
    starts = list(itertools.accumulate(length for length, _ in steps))
    capacity = Capacity([(start, rate) for start, (_, rate) in zip(starts, steps, strict=True)])
    moment = starts[0] + at_s
    assert capacity.reached(capacity.until(moment)) <= moment + 1e-6
