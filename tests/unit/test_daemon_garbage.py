"""When garbage in cycles is searched for."""

from __future__ import annotations

from imgoptd.daemon.garbage import Garbage


def searches(*turns: tuple[float, int]) -> list[int]:
    """The numbers of the turns, each at a time and with so many files in memory, after which a search is made."""
    made: list[None] = []
    times = iter([0.0, *(now_s for now_s, _ in turns)])
    garbage = Garbage(lambda: made.append(None), lambda: next(times))
    found = []
    for number, (_, files) in enumerate(turns):
        before = len(made)
        garbage.turned(files)
        found += [number] * (len(made) - before)
    return found


def test_a_calm_daemon_searches_once_a_minute() -> None:
    assert searches((1.0, 0), (59.0, 0), (60.0, 0), (61.0, 0), (119.0, 0), (120.5, 999)) == [2, 5]


def test_a_busy_one_does_so_once_an_hour_or_as_soon_as_it_is_calm() -> None:
    assert searches((60.0, 50_000), (3599.0, 50_000), (3600.0, 50_000), (3660.0, 50_000), (3661.0, 10)) == [2, 4]
