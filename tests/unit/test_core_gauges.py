"""What workers take now, from one reading to the next."""

from __future__ import annotations

import pytest

from imgoptd.core.events import WorkerReading
from imgoptd.core.gauges import RATE_S, Gauges

MIB = 1 << 20


def test_the_share_of_cpu_is_taken_over_readings_that_lie_apart_far_enough() -> None:
    gauges = Gauges()
    gauges.read([WorkerReading(1, 10 * MIB, 2.0)], 0.0)
    assert gauges.of(1).cpu_share is None
    gauges.read([WorkerReading(1, 10 * MIB, 2.01)], RATE_S / 4)
    assert gauges.of(1).cpu_share is None
    gauges.read([WorkerReading(1, 10 * MIB, 2.0 + RATE_S / 2)], RATE_S)
    assert gauges.of(1).cpu_share == pytest.approx(0.5)


def test_the_peak_is_the_highest_reading() -> None:
    gauges = Gauges()
    for rss in (10, 30, 20):
        gauges.read([WorkerReading(1, rss * MIB)], 0.0)
    assert gauges.of(1).peak_bytes == 30 * MIB


def test_what_is_unknown_stays_unknown_and_begins_anew_afterwards() -> None:
    gauges = Gauges()
    for now_s, cpu_s in enumerate((1.0, 1.5, None, 9.0)):
        gauges.read([WorkerReading(1, MIB, cpu_s)], float(now_s))
    assert gauges.of(1).cpu_share is None
    gauges.read([WorkerReading(1, MIB, 9.25)], 4.0)
    assert gauges.of(1).cpu_share == pytest.approx(0.25)


def test_workers_that_are_gone_are_forgotten() -> None:
    gauges = Gauges()
    gauges.read([WorkerReading(1, MIB, 1.0), WorkerReading(2, MIB, 1.0)], 0.0)
    gauges.read([WorkerReading(2, MIB, 1.0)], 1.0)
    assert list(gauges.workers) == [2]
    assert gauges.of(1).peak_bytes == 0
