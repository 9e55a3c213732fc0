"""How a worker can end under a task, and what that says of the file: one row for each way, and which row it is.

| reason | how it shows | the file |
|---|---|---|
| shed | ended by us for want of memory | is not to blame |
| timeout | ended by us, its task took longer than `job_timeout` | is to blame |
| worker-lied | ended by us, it said what no honest worker says | is to blame |
| oom-killed | SIGKILL, and the kernel counted an OOM kill | is to blame, but see below |
| worker-killed | SIGKILL or SIGTERM, and nobody counted anything | is not to blame; deferred after a number of times |
| memory | its last words are of memory: the codec gave up when its reservation was refused to grow | is to blame |
| worker-crashed | any other signal | is to blame |
| worker-exited | it left by itself, with whatever status | is to blame |

Who was OOM-killed with no more in hand than was reserved for him pays for others: all jobs together are given less than
there is. His file is not to blame; after the second time it is deferred, longer each time.
What was ended for the sake of others (their template died, it could not be held) blames nobody, whatever it shows.
An OOM kill and an operator's kill in the same instant cannot be told apart; the file then looks like one
that costs memory, and has its second attempt.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgoptd.core import events as e
from imgoptd.core.shedding import SHED
from imgoptd.core.text import one_line

TIMEOUT, START_TIMEOUT, LEAVE_TIMEOUT = "timeout", "start-timeout", "leave-timeout"
LIED, OOM, KILLED = "worker-lied", "oom-killed", "worker-killed"
MEMORY, CRASHED, EXITED = "memory", "worker-crashed", "worker-exited"
INNOCENT, UNSTARTED = "worker-ended", "worker-unstarted"

SIGKILL, SIGTERM = 9, 15
_SIGNALS = {
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    15: "SIGTERM",
}
"""Of signal(7), as on x86 and ARM."""

MAX_OOM_KILLS = 1
"""The same for OOM kills without blame: each may have cost the machine more than a worker."""
MAX_KILLS = 8
"""Times a job's worker may be killed from outside before the job is deferred: somebody, or an OOM killer that nobody
counts, means it. It is never quarantined for that, and never keeps a worker busy for ever."""
OF_MEMORY = ("memory allocation of", "nsufficient memory", "MemoryError", "ut of memory", "bad_alloc")
"""What Rust, libjpeg, Python, Pillow and C++ say when memory is refused them, and then end."""


@dataclass(frozen=True, slots=True)
class Ending:
    reason: str
    says: str
    """For a person: the half of a sentence that begins with `its worker` or `it`."""
    blames: bool = True


def of_worker(
    event: e.WorkerExited, ended_for: str, tools: str, job_timeout_s: float, *, within: bool = False
) -> Ending:
    """`ended_for`: why we ended it, if we did. `tools`: what was at work in it (`jpeg: simplejpeg 1.9.0`), or empty.

    `within`: it was seen to hold no more than was reserved for its job.
    """
    at_work = f" at work on {tools}" if tools else ""
    if event.unstarted:
        return Ending(UNSTARTED, event.unstarted, blames=False)
    if event.innocent:
        return Ending(INNOCENT, "its worker ended together with the process that forks them all", blames=False)
    if ended_for == SHED:
        return Ending(SHED, "memory ran short, and its worker was ended to make room", blames=False)
    if ended_for == TIMEOUT:
        return Ending(TIMEOUT, f"it took longer than job_timeout ({job_timeout_s:.0f} s){at_work}")
    if ended_for == START_TIMEOUT:
        return Ending(START_TIMEOUT, "its worker did not say in time that it is ready", blames=False)
    if ended_for == LEAVE_TIMEOUT:
        return Ending(LEAVE_TIMEOUT, "it stayed though it was to leave, and was ended", blames=False)
    if event.lied:
        return Ending(LIED, f"its worker answered as none may{at_work}, and was ended")
    if event.oom_killed and within:
        text = "its worker was killed by the kernel for lack of memory, with no more in hand than was reserved for it"
        return Ending(OOM, f"{text}: others took it", blames=False)
    if event.oom_killed:
        return Ending(OOM, f"its worker was killed by the kernel for lack of memory{at_work}")
    if event.status in (-SIGKILL, -SIGTERM):
        return Ending(KILLED, f"its worker was killed from outside ({_signal(event.status)})", blames=False)
    said = f'; it said "{one_line(event.words)}"' if event.words else ""
    if any(words in event.words for words in OF_MEMORY):
        return Ending(MEMORY, f"the memory reserved for it was not enough{at_work}{said}")
    if event.status < 0:
        return Ending(CRASHED, f"its worker crashed with {_signal(event.status)}{at_work}{said}")
    return Ending(EXITED, f"its worker ended with exit status {event.status}{at_work}{said}")


def _signal(status: int) -> str:
    """`signal 11 (SIGSEGV)`."""
    name = _SIGNALS.get(-status)
    return f"signal {-status} ({name})" if name else f"signal {-status}"
