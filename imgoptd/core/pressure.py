"""Is the machine short of memory? Readings in, a strain out: a level with its reason, with hysteresis in seconds.

Prediction keeps our own jobs within what there is (`core.admission`); this is the backstop for all that it cannot know:
neighbours that grow, limits that are lowered, predictions that are wrong.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

PAUSE_RATE, SHED_RATE, CALM_RATE = 0.05, 0.20, 0.01
"""Share of the time in which some task waited for memory, by our own rate over the last second or two."""
PAUSE_SHARE_OF_RESERVE = 0.75
FLOOR_FRACTION = 0.03
"""Of all memory: with less available, attempts are ended."""
CALM_S = 1.0
"""So long all must be well without a break before work is begun again."""
AHEAD_S = 0.5
"""How far a fall is carried on: until the next reading, and until those who are ended then are gone."""
SHORTEST_S, LONGEST_S = 0.1, 1.0
"""A speed is taken over at least the one (between closer readings lies mostly noise), at most the other."""
FORGOTTEN_S = 10.0
"""After so long without a reading, what was then says nothing of now."""
FAST_SHARE = 0.02
"""Of all memory: others that take more than this within AHEAD_S take it fast."""
FULL_S = 10.0
"""After so long a pause in which little waits for memory, the machine is full and not in trouble."""


class Level(StrEnum):
    CALM = "calm"
    PAUSE = "pause"
    """Nothing more is begun."""
    SHED = "shed"
    """Running attempts must be ended."""


class Cause(StrEnum):
    NONE = ""
    WAITING = "waiting"
    """Tasks wait for memory."""
    LOW = "low"
    """Too little is available."""
    FALLING = "falling"
    """What is available falls so fast that it will soon be too little."""


@dataclass(frozen=True, slots=True)
class Reading:
    """None is unknown."""

    available_bytes: int | None
    limit_bytes: int | None
    reserve_bytes: int
    """What is never given out."""
    rate: float | None
    """0..1, as `Sensed.psi_some_rate`."""
    held_bytes: int | None = 0
    """What our jobs hold now; None where a worker could not be read: then no speed is taken from the reading."""
    growing_bytes: int = 0
    """What our jobs are about to take within AHEAD_S, at the speed seen and within their reservations."""

    @property
    def floor_bytes(self) -> int:
        return int(FLOOR_FRACTION * self.limit_bytes) if self.limit_bytes is not None else self.reserve_bytes // 4


@dataclass(frozen=True, slots=True)
class Strain:
    level: Level = Level.CALM
    cause: Cause = Cause.NONE
    shortfall_bytes: int = 0
    """With SHED: what has to become free now; 0 where tasks wait for memory and it is not known for how much."""
    since_s: float = 0.0
    """Since when it is not calm."""


class Gauge:
    """Follows the readings. Worse is believed at once, better only when it has lasted for CALM_S."""

    def __init__(self) -> None:
        self.strain = Strain()
        self.is_falling = False
        """Others take memory fast, by the last reading."""
        self._seen: deque[tuple[float, int]] = deque()
        """(time, what would be available were it not for our jobs)"""
        self._last_s: float | None = None
        self._calm_since_s: float | None = None

    def take(self, reading: Reading, now_s: float) -> Strain:
        if self._last_s is not None and now_s - self._last_s > FORGOTTEN_S:
            self.forget()
        self._last_s = now_s
        fall = self._fall_bytes(reading, now_s)
        self.is_falling = fall > FAST_SHARE * (reading.limit_bytes or 0) and fall > 0
        level, cause, shortfall = judge(reading, fall)
        if level is Level.CALM:
            level, cause = self._calming(reading, now_s)
        else:
            self._calm_since_s = None
        since_s = now_s if self.strain.level is Level.CALM else self.strain.since_s
        self.strain = Strain(level, cause, shortfall, since_s)
        return self.strain

    def forget(self) -> None:
        """Nothing runs or waits, or nobody has looked for long."""
        self.strain = Strain()
        self.is_falling = False
        self._seen.clear()
        self._last_s = self._calm_since_s = None

    def is_merely_full(self, reading: Reading, now_s: float) -> bool:
        """Has the pause lasted, with little waiting for memory? Then others have taken what there is, and keep it."""
        strain = self.strain
        pressing = strain.cause is Cause.FALLING or (reading.rate is not None and reading.rate > PAUSE_RATE)
        return strain.level is Level.PAUSE and not pressing and now_s - strain.since_s >= FULL_S

    def _calming(self, reading: Reading, now_s: float) -> tuple[Level, Cause]:
        """Nothing presses now: a pause goes on until that has lasted."""
        if self.strain.level is Level.CALM:
            return Level.CALM, Cause.NONE
        if not _is_calm(reading):
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now_s
        elif now_s - self._calm_since_s >= CALM_S:
            return Level.CALM, Cause.NONE
        low = reading.available_bytes is not None and reading.available_bytes <= reading.reserve_bytes
        return Level.PAUSE, Cause.LOW if low else Cause.WAITING

    def _fall_bytes(self, reading: Reading, now_s: float) -> int:
        """What others will take within AHEAD_S.

        At the speed of the last moment, but not more than they took within the last second: who began just now is not
        expected to go on for longer than he has gone already.
        """
        while self._seen and now_s - self._seen[0][0] > LONGEST_S:
            self._seen.popleft()
        if reading.available_bytes is None or reading.held_bytes is None:
            return 0
        now_bytes = reading.available_bytes + reading.held_bytes
        base = next((one for one in reversed(self._seen) if now_s - one[0] >= SHORTEST_S), None)
        highest = max((one[1] for one in self._seen), default=now_bytes)
        self._seen.append((now_s, now_bytes))
        if base is None or base[1] <= now_bytes:
            return 0
        speed = (base[1] - now_bytes) / (now_s - base[0])
        return min(int(speed * AHEAD_S), highest - now_bytes)


def judge(reading: Reading, fall_bytes: int) -> tuple[Level, Cause, int]:
    """What one reading asks for by itself, and the shortfall in bytes; CALM: it does not ask for a pause."""
    available, rate = reading.available_bytes, reading.rate
    if available is not None:
        shortfall = reading.floor_bytes - (available - fall_bytes - reading.growing_bytes)
        if shortfall > 0:
            low = available < reading.floor_bytes
            return Level.SHED, Cause.LOW if low else Cause.FALLING, shortfall
    if rate is not None and rate > SHED_RATE:
        return Level.SHED, Cause.WAITING, 0
    if rate is not None and rate > PAUSE_RATE:
        return Level.PAUSE, Cause.WAITING, 0
    least = PAUSE_SHARE_OF_RESERVE * reading.reserve_bytes
    if available is not None and available < least:
        return Level.PAUSE, Cause.LOW, 0
    if available is not None and available - fall_bytes < least:
        return Level.PAUSE, Cause.FALLING, 0
    return Level.CALM, Cause.NONE, 0


def _is_calm(reading: Reading) -> bool:
    """Well enough to begin work again. What is unknown hinders nothing: what is known decides."""
    available = reading.available_bytes
    waiting = reading.rate is not None and reading.rate >= CALM_RATE
    return not waiting and (available is None or available > reading.reserve_bytes)
