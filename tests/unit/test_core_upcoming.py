"""The first few of a heap, in order, without sorting it."""

from __future__ import annotations

import heapq
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.upcoming import in_order
from tests.unit.dispatching import drop, running
from tests.unit.dispatching import given as given_out
from tests.unit.world import ROOT, World, folder


@given(st.lists(st.integers()))
def test_all_entries_come_in_order_and_the_heap_is_left_as_it_was(numbers: list[int]) -> None:
    heapq.heapify(numbers)
    before = list(numbers)
    assert list(in_order(numbers)) == sorted(numbers)
    assert numbers == before


class Counted:
    """Counts how often any two were compared."""

    compared = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __lt__(self, other: Counted) -> bool:
        Counted.compared += 1
        return self.number < other.number


def test_a_few_of_very_many_cost_as_little_as_a_few_of_a_few() -> None:
    heap = [Counted(number) for number in range(100_000)]
    Counted.compared = 0
    assert [one.number for one in islice(in_order(heap), 10)] == list(range(10))
    assert Counted.compared < 200


def test_the_backlog_is_told_in_the_order_in_which_it_runs() -> None:
    world = World(folder(), folder(b"/srv/urgent", priority=0), workers_max=1, timeout_s=1000.0)
    (first,) = drop(world, "photo", hang=True)
    world.run(5.0)
    assert running(world) == [first]
    drop(world, "photo", 4)
    drop(world, "photo", 2, root=b"/srv/urgent")
    world.run(5.0)
    foretold = [job.ref for job in world.engine.jobs.backlog.upcoming()]
    assert len(foretold) == 6
    assert [ref.root for ref in foretold] == [b"/srv/urgent"] * 2 + [ROOT] * 4
    world.hanging.clear()
    world.run(200.0)
    assert given_out(world)[1:] == foretold
