"""Does a watch still hear? A state machine over proofs asked for and proofs heard.

A proof is a change of our own that the watch must report. A watch that is silent may have nothing to tell, or be deaf:
only a proof tells the two apart. One proof may be held up behind a full queue, so a second one is asked for, and more
while other events of the same folder still arrive.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

EVERY_S = 30.0
EVERY_MOST_S = 600.0
"""Each good proof doubles the time to the next: on a disk that sleeps a proof is a write to its journal."""
PATIENCE_S = 4.0
PROOFS = 2
"""Proofs that must have gone unheard before a watch counts as deaf ..."""
PROOFS_BUSY = 6
"""... and as many while other events arrive."""
AT_ONCE_S = 900.0
"""A watch that goes deaf again within this time is not trusted again."""


class Wish(Enum):
    NOTHING = "nothing"
    PROOF = "proof"
    """Make a change that the watch must report, and say so by `asked`."""
    DEAF = "deaf"
    """The watch does not hear: watch the folder anew."""


@dataclass(slots=True)
class Hearing:
    """Of one watch, from its arming on. `heard` and `stirred` may be called from another thread."""

    due_s: float
    every_s: float = EVERY_S
    asked_s: float | None = None
    """When the proof that is waited for was made last."""
    proofs: int = 0
    """Made and not heard yet."""
    busy: bool = False
    silenced: str = ""
    """Why no proof can be had here; empty: it can."""

    def wish(self, now_s: float) -> Wish:
        if self.silenced:
            return Wish.NOTHING
        if self.asked_s is None:
            return Wish.PROOF if now_s >= self.due_s else Wish.NOTHING
        if now_s - self.asked_s < PATIENCE_S:
            return Wish.NOTHING
        return Wish.DEAF if self.proofs >= (PROOFS_BUSY if self.busy else PROOFS) else Wish.PROOF

    def asked(self, now_s: float) -> None:
        """A proof is about to be made."""
        if self.asked_s is None:
            self.busy = False
        self.asked_s = now_s
        self.proofs += 1

    def unasked(self, now_s: float) -> None:
        """No proof could be made just now (a full disk, say): that tells nothing."""
        self.asked_s = None
        self.proofs = 0
        self.due_s = now_s + self.every_s

    def heard(self, now_s: float) -> None:
        """The proof was heard."""
        if self.asked_s is not None:
            self.asked_s = None
            self.proofs = 0
            self.due_s = now_s + self.every_s
            self.every_s = min(EVERY_MOST_S, self.every_s * 2)

    def stirred(self) -> None:
        """Something else of the same folder was heard."""
        self.busy = True

    def doubt(self, now_s: float) -> None:
        """Something looks odd: have it proved now."""
        self.due_s = min(self.due_s, now_s)
        self.every_s = EVERY_S


def trusted_again(deaf_before_s: float | None, now_s: float) -> bool:
    """May a watch that is deaf now be armed anew, rather than the folder polled? `deaf_before_s`: when it last was."""
    return deaf_before_s is None or now_s - deaf_before_s > AT_ONCE_S
