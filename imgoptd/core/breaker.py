"""Is it the file, or is it its disk? A state machine for each place: one device, seen from one watched folder.

A job that fails as a sick disk makes it fail puts its place under suspicion: a file of our own is written there. If
that goes well, the trouble was the file's alone. If not, nothing of the place is given out until such a file can be
written again, and the operator hears of it once.

| state     | trouble   | want | well   | ill  | time      |
|-----------|-----------|------|--------|------|-----------|
| closed    | suspected | open |        |      |           |
| suspected |           | open | closed | open | half-open |
| open      |           |      |        |      | half-open |
| half-open |           |      | closed | open |           |

Half-open is an open one whose probe is under way. `time` means for a suspected place that its disk has not answered,
for an open one that it is to be tried again. `want` is trouble that is the daemon's own (no descriptors, no memory):
no probe need tell whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from imgoptd.core import commands as c
from imgoptd.core.model import Failure, FailureKind, FileRecord, FileRef, Place
from imgoptd.core.text import show_path
from imgoptd.core.turn import Turn

LOOK_S = 5.0
"""Until the first try after a failed probe, and each one while the filesystem itself says what is wrong: that costs no
write."""
TRY_MOST_S = 30.0
"""The longest time between two tries: the tries double up to it."""
ANSWER_S = 30.0
"""A disk that takes longer to answer its first probe is ill."""
SILENCE_FIRST_S, SILENCE_MOST_S = 60.0, 3600.0
"""After an announced opening none is announced for this long; doubled each time, so a disk that comes and goes does not
fill the log."""
NEED_MOST_BYTES = 16 << 20
"""A disk must have room for an ordinary file to be well; that one huge file finds none is the file's own trouble."""

IO_ERROR = "io-error"
OURS = frozenset({"no-descriptors", "no-memory"})
"""Reasons that are a want of the daemon's own, which every file meets alike."""
SUSPICIOUS = frozenset({"no-space", "read-only-filesystem", IO_ERROR}) | OURS
"""Reasons of transient failures that may not be one file's alone."""


class State(StrEnum):
    CLOSED = "closed"
    SUSPECTED = "suspected"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Sign(StrEnum):
    TROUBLE = "trouble"
    WANT = "want"
    WELL = "well"
    ILL = "ill"
    TIME = "time"


NEXT: dict[tuple[State, Sign], State] = {
    (State.CLOSED, Sign.TROUBLE): State.SUSPECTED,
    (State.CLOSED, Sign.WANT): State.OPEN,
    (State.SUSPECTED, Sign.WANT): State.OPEN,
    (State.SUSPECTED, Sign.WELL): State.CLOSED,
    (State.SUSPECTED, Sign.ILL): State.OPEN,
    (State.SUSPECTED, Sign.TIME): State.HALF_OPEN,
    (State.OPEN, Sign.TIME): State.HALF_OPEN,
    (State.HALF_OPEN, Sign.WELL): State.CLOSED,
    (State.HALF_OPEN, Sign.ILL): State.OPEN,
}
"""All other signs change nothing."""

TRIPPED = frozenset({State.OPEN, State.HALF_OPEN})


def suspicious(failure: Failure) -> bool:
    return failure.kind is FailureKind.TRANSIENT and failure.reason in SUSPICIOUS


@dataclass(slots=True)
class Breaker:
    place: Place
    ref: FileRef
    """A file in whose folder the place is tried."""
    need_bytes: int
    output: bytes
    """The output tree of the file: what sickens is where results go. Empty: they go to the file's own folder."""
    failure: Failure
    """Why it is suspected or open."""
    since_s: float
    state: State = State.CLOSED
    next_s: float | None = None
    """When time moves it on; None while a probe of an open one is under way."""
    failures: int = 0
    """Since it was last well: probes that failed, and wants."""
    announced: bool = False
    suspects: list[FileRef] = field(default_factory=list)
    """Files whose trouble is told only if it proves to be theirs."""


@dataclass(slots=True)
class _Silence:
    until_s: float
    length_s: float


class Breakers:
    """Every place that is not closed. What changes a state returns it."""

    def __init__(self) -> None:
        self.known: dict[Place, Breaker] = {}
        self._silences: dict[Place, _Silence] = {}

    def state(self, place: Place) -> State:
        breaker = self.known.get(place)
        return breaker.state if breaker is not None else State.CLOSED

    def suspected(self) -> bool:
        """Is any under suspicion, so that what comes of its files will be known soon?"""
        return any(one.state is State.SUSPECTED for one in self.known.values())

    def trouble(self, turn: Turn, record: FileRecord, failure: Failure) -> Breaker:
        """A job failed as it would on a sick disk, or for a want of ours."""
        place = record.place
        breaker = self.known.get(place)
        if breaker is None:
            need_bytes = min(record.identity.size, NEED_MOST_BYTES)
            breaker = self.known[place] = Breaker(place, record.ref, need_bytes, record.output, failure, turn.now_s)
        breaker.suspects.append(record.ref)
        if failure.reason in OURS and breaker.state in (State.CLOSED, State.SUSPECTED):
            self._failed(turn, breaker, failure, Sign.WANT, LOOK_S)
        else:
            self._move(turn, breaker, Sign.TROUBLE)
        return breaker

    def probed(self, turn: Turn, place: Place, failure: Failure | None, shown: bool) -> Breaker | None:
        """The answer of a probe; the breaker as it is then, None where no answer was waited for."""
        breaker = self.known.get(place)
        if breaker is None or breaker.state not in (State.SUSPECTED, State.HALF_OPEN):
            return None
        if failure is None:
            self._move(turn, breaker, Sign.WELL)
            return breaker
        delay_s = LOOK_S if shown else min(TRY_MOST_S, LOOK_S * 2.0 ** min(breaker.failures, 10))
        self._failed(turn, breaker, failure, Sign.ILL, delay_s)
        return breaker

    def due(self, turn: Turn) -> list[Breaker]:
        """Move on what time moves; those that have opened by it."""
        moved = [one for one in self.known.values() if one.next_s is not None and one.next_s <= turn.now_s]
        opened = [one for one in moved if one.state is State.SUSPECTED]
        for breaker in opened:
            detail = f"its disk has not answered for {ANSWER_S:.0f} s"
            breaker.failure = Failure(FailureKind.TRANSIENT, "no-answer", detail)
        for breaker in moved:
            self._move(turn, breaker, Sign.TIME)
        return opened

    def next_deadline_s(self) -> float | None:
        return min((one.next_s for one in self.known.values() if one.next_s is not None), default=None)

    def forget(self, places: list[Place]) -> None:
        """They are watched no more, or out of reach as a whole."""
        for place in places:
            self.known.pop(place, None)
            self._silences.pop(place, None)

    def _failed(self, turn: Turn, breaker: Breaker, failure: Failure, sign: Sign, delay_s: float) -> None:
        breaker.failure = failure
        breaker.failures += 1
        breaker.next_s = turn.now_s + delay_s
        self._move(turn, breaker, sign)

    def _move(self, turn: Turn, breaker: Breaker, sign: Sign) -> None:
        before, after = breaker.state, NEXT.get((breaker.state, sign), breaker.state)
        breaker.state = after
        if sign is Sign.TROUBLE and before is State.CLOSED:
            self._ask(turn, breaker)
            breaker.next_s = turn.now_s + ANSWER_S
        elif sign is Sign.TIME:
            breaker.next_s = None
            if before is State.OPEN:
                self._ask(turn, breaker)
        if before not in TRIPPED and after in TRIPPED:
            breaker.since_s = turn.now_s
        if after in TRIPPED:
            self._announce_open(turn, breaker)
        elif after is State.CLOSED:
            del self.known[breaker.place]
            self._announce_closed(turn, breaker)

    def _ask(self, turn: Turn, breaker: Breaker) -> None:
        turn.act(c.ProbeFolder(breaker.place, breaker.ref, breaker.need_bytes, breaker.output))

    def _announce_open(self, turn: Turn, breaker: Breaker) -> None:
        silence = self._silences.setdefault(breaker.place, _Silence(turn.now_s, SILENCE_FIRST_S))
        if breaker.announced or turn.now_s < silence.until_s:
            return
        if turn.now_s - silence.until_s > SILENCE_MOST_S:
            silence.length_s = SILENCE_FIRST_S  # the last time was long ago
        breaker.announced = True
        silence.until_s = turn.now_s + silence.length_s
        silence.length_s = min(SILENCE_MOST_S, silence.length_s * 2)
        text = "what is to be done on this disk waits, and goes on by itself"
        _say(turn, "disk-ill", f"{_where(breaker)}: {breaker.failure.detail}; {text}", 3, breaker)

    def _announce_closed(self, turn: Turn, breaker: Breaker) -> None:
        if breaker.announced:
            _say(turn, "disk-well", f"{_where(breaker)}: a file can be written there again, work goes on", 5, breaker)


def _where(breaker: Breaker) -> str:
    where = FileRef(breaker.output or breaker.ref.root, breaker.ref.path)
    folder = where.full.rpartition(b"/")[0] or b"/"
    return show_path(folder)


def _say(turn: Turn, event: str, text: str, priority: int, breaker: Breaker) -> None:
    failure = breaker.failure
    fields = {"root": show_path(breaker.place.root), "folder": _where(breaker), "device": breaker.place.dev}
    turn.announce(event, text, priority, **fields, reason=failure.reason, detail=failure.detail)
