"""Events that are an operator's word on the whole daemon, or on one file."""

from __future__ import annotations

from dataclasses import dataclass

from imgoptd.core.model import FileRecord, FileRef, Kept


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Finish what runs, start nothing more."""


@dataclass(frozen=True, slots=True)
class ScaleAsked:
    """An operator wants so many workers until the next start. None: as it was. `workers_max` is never 0."""

    workers_min: int | None = None
    workers_max: int | None = None


@dataclass(frozen=True, slots=True)
class ScaleReturned:
    """An operator gives the range of workers back to the configuration."""


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """Finish what runs, give nothing more out until ResumeAsked."""


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """Give jobs out again."""


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """An operator wants the file done, whatever became of it before."""

    ref: FileRef


@dataclass(frozen=True, slots=True)
class RestoreAsked:
    """An operator wants this original back; it was found whole, and all is ready to exchange it.

    Answer: AnswerRestore, at once where it may not be, else after the Restore that is asked for.
    """

    kept: Kept
    """With `restoring`."""
    known: FileRecord | None
    """The store's row of the path: it is valid again when the original stays where it is."""
