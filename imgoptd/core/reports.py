"""Events that tell of workers: how they start and end, and what becomes of the tasks that they were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imgoptd.core.model import Failure, FileRef, ImageFacts, Outcome


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    worker: int
    pid: int
    rss_bytes: int | None
    """Resident memory of the idle worker; None is unknown."""
    codecs: Mapping[str, str] = field(default_factory=dict)
    """Of each format: the libraries that work on it, with their versions."""


@dataclass(frozen=True, slots=True)
class WorkerExited:
    worker: int
    status: int
    """Exit status, or the negated signal number."""
    oom_killed: bool = False
    innocent: bool = False
    """It was ended together with others (their template died, or we ended it unasked): no task of its is to blame."""
    lied: bool = False
    """It said what no honest worker says, and was ended for that."""
    words: str = ""
    """The end of what it said on its standard error, on one line. It may be a lie, too."""
    unstarted: str = ""
    """Why it could not be started at all, with what to do about it; empty where it could."""


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """The task was handed over: from now on it is the worker's.

    Of a job, `sha256` is its content, read whole by the daemon; of a probe it is empty.
    """

    worker: int
    ref: FileRef
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Recognised:
    """The daemon read a job's input and knows the content: it was not handed over."""

    worker: int
    ref: FileRef
    sha256: str
    own_result: bool
    """It stands in a receipt as a result of ours; otherwise it is what the path held when it was last finished."""


@dataclass(frozen=True, slots=True)
class TaskRefused:
    """The task could not be handed over (the file changed, vanished, or could not be opened).

    `failure` is None where only the worker had gone: the job is not to blame.
    """

    worker: int
    ref: FileRef
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Probed:
    worker: int
    ref: FileRef
    facts: ImageFacts | None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker reports the outcome of a job."""

    worker: int
    ref: FileRef
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Recalled:
    """The worker has given the task back unbegun."""

    worker: int
    ref: FileRef


@dataclass(frozen=True, slots=True)
class WorkerReading:
    """What the kernel says of one worker now."""

    worker: int
    rss_bytes: int
    cpu_s: float | None = None
    """CPU seconds since it was forked; None is unknown."""
