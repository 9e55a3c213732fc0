"""Parked workers: who makes way for another domain is kept for when its own turn comes, within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.conditions import Conditions
from imgoptd.core.exits import LEAVE_TIMEOUT_S
from imgoptd.core.fleet import Fleet, WorkerState
from imgoptd.core.model import Domain
from imgoptd.core.spares import FAT_BYTES, PARKED_S, Spares
from imgoptd.core.turn import Turn
from imgoptd.core.vitals import Vitals
from tests.unit.disk import ALICE, BOB
from tests.unit.dispatching import DONE, drop, serving
from tests.unit.edge import MIB
from tests.unit.world import ROOT, World

ONE_CPU = e.Sensed(available_bytes=3072 * MIB, limit_bytes=4096 * MIB, cpus=1)


def states(world: World) -> list[str]:
    return sorted(worker.state for worker in world.engine.fleet.workers.values())


def work(world: World, uid: int) -> None:
    (ref,) = drop(world, "photo", uid=uid)
    world.run(1.0)
    assert world.state(ref) == DONE


def parked(workers_max: int = 0) -> World:
    """A world in which Alice's worker made way for Bob's."""
    world = World(workers_max=workers_max, machine=ONE_CPU)
    work(world, ALICE)
    work(world, BOB)
    assert serving(world) == [(ROOT, BOB)]
    return world


def test_domains_that_take_turns_cost_one_start_each_however_often_they_do() -> None:
    world = parked()
    assert states(world) == ["idle", "parked"]
    for _ in range(5):
        work(world, ALICE)
        work(world, BOB)
    assert [start.domain for start in world.asked(c.StartWorker)] == [(ROOT, ALICE), (ROOT, BOB)]
    assert not world.asked(c.RetireWorker)


def test_a_maximum_that_somebody_chose_bounds_all_processes() -> None:
    world = parked(workers_max=1)
    assert states(world) == ["idle"]
    roomy = parked(workers_max=2)
    assert states(roomy) == ["idle", "parked"], "with fewer at work than there may be, there is room for it"


def test_a_maximum_by_command_ends_those_that_are_parked_beside_it() -> None:
    world = parked()
    world.post(e.ScaleAsked(workers_max=1))
    world.run(0.0)
    assert states(world) == ["idle"]


def test_of_more_parked_ones_than_there_are_cpus_the_longest_parked_leaves() -> None:
    world = parked()
    work(world, 77)
    assert serving(world) == [(ROOT, 77)]
    left = [worker.domain.uid for worker in world.engine.fleet.workers.values() if worker.state is WorkerState.PARKED]
    assert left == [BOB]


def test_who_is_parked_for_long_leaves() -> None:
    world = parked()
    world.run(PARKED_S + 1)
    assert "parked" not in states(world)


def test_who_is_parked_leaves_at_the_very_moment_it_is_due() -> None:
    fleet = Fleet()
    spares = Spares(fleet, Vitals(fleet), Conditions(sensed=ONE_CPU, spares_beside=True))
    worker = fleet.add(Domain(ROOT, ALICE), 0.0)
    spares.make_way(Turn(475.0803236394593), worker)  # this plus 60, less itself, is less than 60
    due_s = spares.next_deadline_s()
    assert due_s is not None
    spares.review(turn := Turn(due_s))
    assert turn.commands == [c.RetireWorker(worker.id)]


def test_a_worker_that_does_not_leave_when_told_to_is_ended() -> None:
    world = parked()
    (spare,) = [one for one in world.engine.fleet.workers.values() if one.state is WorkerState.PARKED]
    world.staying.add(spare.id)
    world.run(PARKED_S + LEAVE_TIMEOUT_S - 0.1)
    assert spare.state is WorkerState.DRAINING
    world.run(LEAVE_TIMEOUT_S)
    assert spare.id not in world.engine.fleet.workers
    assert [(one.worker, one.why) for one in world.asked(c.KillWorker)] == [(spare.id, "leave-timeout")]
    (said,) = [one.message for one in world.asked(c.Announce) if "lost" in one.message]
    assert said.endswith("it stayed though it was to leave, and was ended")


SHORT = replace(ONE_CPU, available_bytes=100 * MIB)
STALLED = replace(ONE_CPU, psi_some_rate=0.1)
BLIND = e.Sensed(cpus=1)


@pytest.mark.parametrize("reading", [SHORT, STALLED, BLIND])
def test_nobody_stays_parked_while_memory_is_short_or_unknown(reading: e.Sensed) -> None:
    world = parked()
    drop(world, "panorama", uid=BOB, hang=True)
    world.run(0.0)
    assert states(world) == ["busy", "parked"]
    world.machine = reading
    world.run(1.0)
    assert "parked" not in states(world)


def test_parked_workers_end_with_the_daemon() -> None:
    world = parked()
    world.post(e.DrainRequested())
    world.run(0.0)
    assert not world.engine.fleet.workers


def test_a_parked_worker_that_is_lost_is_replaced_when_its_domain_has_work() -> None:
    world = parked()
    (spare,) = [one for one in world.engine.fleet.workers.values() if one.state is WorkerState.PARKED]
    world.end_worker(spare.id, -9)
    world.run(0.0)
    work(world, ALICE)
    assert serving(world) == [(ROOT, ALICE)]
    assert spare.id not in world.engine.fleet.workers


def test_a_worker_that_has_grown_fat_is_not_parked() -> None:
    world = World(workers_max=0, machine=ONE_CPU)
    work(world, ALICE)
    (worker,) = world.engine.fleet.workers.values()
    for number, bytes_ in enumerate((worker.idle_rss_bytes or 0, FAT_BYTES + 1 + (worker.idle_rss_bytes or 0))):
        world.post(e.Sensed(1 << 32, 1 << 32, cpus=1, workers=(e.WorkerReading(worker.id, bytes_, float(number)),)))
        world.run(0.1)
    work(world, BOB)
    assert "parked" not in states(world)
