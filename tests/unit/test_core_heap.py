"""Heaps whose members come, go and move; and the first few of a heap, in order, without sorting it."""

from __future__ import annotations

import heapq
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from imgoptd.core.heap import SLACK, Heap, upcoming
from tests.unit.dispatching import drop, running
from tests.unit.dispatching import given as given_out
from tests.unit.world import ROOT, World, folder


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 99)), max_size=300))
def test_a_heap_is_a_sorted_list_whose_members_come_go_and_move(changes: list[tuple[int, int | None]]) -> None:
    heap: Heap[int] = Heap()
    keys: dict[int, int] = {}
    for item, key in changes:
        if key is None:
            heap.remove(item)
            keys.pop(item, None)
        else:
            heap.push(item, (key, item))
            keys[item] = key
        order = sorted(keys, key=lambda one: (keys[one], one))
        assert list(heap.in_order()) == order
        assert (heap.head(), len(heap)) == (order[0] if order else None, len(keys))
        assert heap.first(2, lambda one: one % 2 == 1) == next((one for one in order[:2] if one % 2 == 1), None)
        assert len(heap._entries) <= 2 * len(keys) + SLACK


def test_what_members_leave_behind_is_thrown_away_in_time() -> None:
    heap: Heap[int] = Heap()
    heap.push(0, (0,))
    for number in range(1, 10 * SLACK):
        heap.push(number, (number,))
        heap.remove(number)
        assert len(heap._entries) <= 2 + SLACK
    assert list(heap.in_order()) == list(heap.members()) == [0]


@given(st.lists(st.integers()))
def test_all_entries_come_in_order_and_the_heap_is_left_as_it_was(numbers: list[int]) -> None:
    heapq.heapify(numbers)
    before = list(numbers)
    assert list(upcoming(numbers)) == sorted(numbers)
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
    assert [one.number for one in islice(upcoming(heap), 10)] == list(range(10))
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
