"""Memory that is booked: what a job at rest gives back, what may pass one that waits, and that it is never too much."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from imgoptd.core import events as e
from imgoptd.core.admission import RESERVE_FRACTION
from imgoptd.core.fleet import Worker
from imgoptd.core.growth import REST_SHARES, Growth
from imgoptd.core.job import Stage
from imgoptd.core.packing import Gap, Running, gap_for
from tests.unit.dispatching import drop
from tests.unit.edge import MIB
from tests.unit.test_core_order import DOMAINS, waiting
from tests.unit.world import World

Later = tuple[float | None, ...]

# ---- growth ---------------------------------------------------------------------------------------------------------


def grown(*readings: tuple[float, int], later: Later = (1.5, None, None), expected_cpu_s: float = 4.0) -> Growth:
    """Readings of seconds, and of MiB above the idle worker; the job has a CPU of its own."""
    growth = Growth()
    growth.read(900 * MIB, 10.0, expected_cpu_s, later)  # made while the worker was still at the job before
    for now_s, mib in readings:
        growth.read(mib * MIB, 10.0 + now_s, expected_cpu_s, later)
    return growth


def test_a_growing_job_is_booked_with_its_reservation() -> None:
    assert grown((0.5, 50), (1.0, 60), (1.5, 70)).booked_bytes(300 * MIB) == 300 * MIB


def test_a_job_at_rest_is_booked_with_what_it_may_still_come_to() -> None:
    growth = grown((0.5, 60), (0.6, 60), (0.75, 60))
    assert growth.rested_bytes == [60 * MIB]
    assert growth.booked_bytes(300 * MIB) == 90 * MIB
    assert growth.booked_bytes(80 * MIB) == 80 * MIB


def test_the_longer_a_job_rests_the_less_is_booked_for_what_may_still_come() -> None:
    later = (10.0, 2.0, 1.1)
    rests = [grown((0.5, 60), (0.51 + 4.0 * share, 60), later=later) for share in (0.04, *REST_SHARES)]
    assert [len(one.rested_bytes) for one in rests] == [0, 1, 2, 3]
    assert [one.booked_bytes(500 * MIB) // MIB for one in rests] == [500, 500, 120, 66]


def test_a_stage_of_which_nothing_is_known_gives_nothing_back_and_takes_nothing() -> None:
    assert grown((0.5, 60), (2.0, 60), later=(1.5, None, None)).booked_bytes(300 * MIB) == 90 * MIB
    assert grown((0.5, 60), (0.75, 60), later=(None, None, 1.1)).booked_bytes(300 * MIB) == 300 * MIB


def test_a_job_that_grows_again_is_booked_in_full_again() -> None:
    growth = grown((0.5, 60), (0.75, 60), (0.8, 70))
    assert growth.booked_bytes(300 * MIB) == 300 * MIB
    growth.read(70 * MIB, 11.1, 4.0, (1.5, None, None))
    assert growth.booked_bytes(300 * MIB) == 105 * MIB
    assert growth.rested_bytes == [60 * MIB], "what is learned from is the first rest"


def test_a_job_that_gets_no_cpu_does_not_rest() -> None:
    growth = Growth()
    for now_s in (0.0, 0.5, 5.0, 50.0):
        growth.read(60 * MIB, 10.0 + now_s / 1000, 4.0, (1.5, 1.5, 1.5))
    assert growth.booked_bytes(300 * MIB) == 300 * MIB


def test_where_it_is_unknown_how_jobs_grow_later_or_what_cpu_they_took_nothing_is_given_back() -> None:
    assert grown((0.5, 60), (5.0, 60), later=()).booked_bytes(300 * MIB) == 300 * MIB
    growth = Growth()
    for _ in range(4):
        growth.read(60 * MIB, None, 4.0, (1.5, 1.5, 1.5))
    assert growth.booked_bytes(300 * MIB) == 300 * MIB


def test_a_job_that_is_seen_beyond_its_reservation_is_booked_with_what_it_holds() -> None:
    assert grown((0.5, 400)).booked_bytes(300 * MIB) == 400 * MIB


def test_a_worker_books_the_largest_of_what_runs_and_what_waits_behind_it() -> None:
    worker, first, second = Worker(1, DOMAINS[0], 0.0, idle_rss_bytes=20 * MIB), waiting(1), waiting(2)
    first.stage = second.stage = Stage.WORKING
    first.reserved_bytes, second.reserved_bytes = 300 * MIB, 100 * MIB
    worker.tasks, worker.handed = [first, second], [first]
    worker.begin(0.0)
    first.estimate = replace(first.estimate, cpu_s=4.0)
    for cpu_s in (0.0, 0.5, 0.9):
        worker.read(e.WorkerReading(1, 80 * MIB, cpu_s), (1.2, None, None))
    assert first.booked_bytes == 72 * MIB
    assert (worker.reserved_bytes, worker.holding().growth_bytes) == (100 * MIB, 40 * MIB)


# ---- room that is kept ----------------------------------------------------------------------------------------------


def test_what_passes_one_that_waits_is_gone_when_there_is_room_or_fits_beside_it() -> None:
    running = [Running(9.0, 300), Running(2.0, 100)]
    gap = gap_for(250, 60, running)
    assert gap == Gap(9.0, 210)
    assert gap_for(150, 60, running) == Gap(2.0, 10)
    assert gap.admits(210, 99.0) and gap.admits(999, 9.0) and not gap.admits(211, 9.1)


def test_room_that_no_end_of_ours_will_make_is_waited_for_until_nothing_runs() -> None:
    assert gap_for(900, 60, [Running(2.0, 100), Running(-1.0, 10)]) == Gap(2.0, 0)


# ---- never too much -------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    kinds=st.lists(st.sampled_from(["photo", "panorama", "mural"]), min_size=1, max_size=14),
    limit=st.integers(300, 3000),
    shares=st.lists(st.floats(0.1, 1.0), min_size=14, max_size=14),
    workers=st.integers(1, 6),
)
def test_while_no_job_exceeds_its_reservation_the_machine_never_does(
    kinds: list[str], limit: int, shares: list[float], workers: int
) -> None:
    machine = e.Sensed(available_bytes=limit * MIB, limit_bytes=limit * MIB, cpus=8)
    world = World(workers_max=workers, machine=machine, timeout_s=1e6)
    refs = [drop(world, kind, hang=True)[0] for kind in kinds]
    most = limit * MIB - max(int(RESERVE_FRACTION * limit * MIB), 96 * MIB)
    for step in range(60):
        world.run(0.5)
        fleet = world.engine.fleet.workers.values()
        running = [one for one in fleet if one.tasks]
        assert sum(one.reserved_bytes for one in running) <= most
        # Each holds a share of what it may: readings of it come to the engine like real ones.
        held = {one.id: int(shares[one.id % 14] * one.reserved_bytes) for one in running}
        readings = tuple(e.WorkerReading(number, 30 * MIB + size, step / 2) for number, size in held.items())
        world.machine = e.Sensed(limit * MIB - sum(held.values()), limit * MIB, cpus=8, workers=readings)
        world.post(world.machine)
        if step % 3 == 2:
            world.hanging.difference_update(refs[: 1 + step // 3])
    world.hanging.clear()
    world.run()
    assert world.engine.unfinished() == 0
