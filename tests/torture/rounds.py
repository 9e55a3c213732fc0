"""One round: drop files, let the daemon run for a random while, kill it (or a worker, or all at once), start it again.

Every few rounds the daemon may finish, and then: nothing is lost, no temp is left, no file was done twice, and the
checker finds nothing but smaller encodings. Files are also overwritten, moved and deleted while they are worked on.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from imgoptd.cli.client import ControlFailure
from tests import images
from tests.checker import FileFacts, compare, snapshot
from tests.harness import eventually, unique
from tests.torture.warm import WarmDaemon

LONGEST_LIFE_S = 0.7
"""A daemon that is started warm answers after 0.1 s and has done its first job after 0.5 s: both lie within."""
FILES_A_ROUND = 3


@dataclass(slots=True)
class Verdict:
    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    files: int = 0
    checked: int = 0
    """Files that stood at the end of a batch of rounds and went through the checker."""
    killed_under_load: int = 0
    """Daemons that had unfinished files when they were killed."""
    failures: list[str] = field(default_factory=list)


class Torture:
    """Use as a context manager; `run` as often as wanted, then read `verdict`."""

    def __init__(self, seed: int, say: Callable[[str], None] = print) -> None:
        self.dice = random.Random(seed)
        self.say = say
        self.verdict = Verdict()
        self.daemon = WarmDaemon(settle="50ms")
        self.staged = self.daemon.base / "staged"
        self.staged.mkdir()
        self.expected: dict[bytes, FileFacts] = {}
        self.contents: Counter[bytes] = Counter()
        """How many contents stood at each name."""
        self.number = 0
        self.pool = _pool()

    def __enter__(self) -> Torture:
        try:
            self.daemon.start_watching()  # the first look at the folder is over: from now on what comes is to be done
        except BaseException:
            self.__exit__(None, None, None)  # no one else will, for a start that failed
            raise
        return self

    def __exit__(self, *of_the_end: object) -> None:
        self.daemon.__exit__(None, None, None)

    def run(self, rounds: int, settle_every: int = 10) -> None:
        for number in range(1, rounds + 1):
            self._round()
            self.verdict.rounds += 1
            if number % settle_every == 0 or number == rounds:
                self._settle()
                failed = len(self.verdict.failures)
                self.say(f"round {self.verdict.rounds}: {self.verdict.files} files, {failed} failures")

    # ---- a round ----

    def _round(self) -> None:
        born = time.monotonic()
        end = born + self.dice.uniform(0.0, LONGEST_LIFE_S)
        for _ in range(FILES_A_ROUND):
            self._publish(b"%06d.%s" % (self.number, b"img"))
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, self.dice.uniform(0.02, 0.4)))
            self._disturb()
        self._kill()

    def _publish(self, name: bytes) -> None:
        """Put a new content at the name in one step; what must survive is written down first."""
        self.number += 1
        mark = f"content {self.number}"
        staged = self.staged / "next"
        staged.write_bytes(unique(self.dice.choice(self.pool), mark))
        staged.chmod(self.dice.choice((0o644, 0o600, 0o664)))
        os.setxattr(staged, "user.mark", mark.encode())
        stamp = 1_600_000_000_000_000_000 + self.number * 1_000_000_007
        os.utime(staged, ns=(stamp + 1, stamp))
        [facts] = snapshot(self.staged).values()
        os.rename(staged, os.path.join(os.fsencode(self.daemon.watched), name))
        self.expected[name] = facts
        self.contents[name] += 1
        self.verdict.files += 1

    def _disturb(self) -> None:
        """What a user does in the same moment: mostly nothing."""
        names = sorted(self.expected)
        what, name = self.dice.random(), self.dice.choice(names)
        path = os.path.join(os.fsencode(self.daemon.watched), name)
        if what < 0.15:
            self._publish(name)
        elif what < 0.20 and len(names) > 3:
            os.unlink(path)
            del self.expected[name]
        elif what < 0.25:
            other = b"moved-%06d.img" % self.number
            self.number += 1
            os.rename(path, os.path.join(os.fsencode(self.daemon.watched), other))
            self.expected[other] = self.expected.pop(name)
            self.contents[other] = 1

    def _kill(self) -> None:
        what = self.dice.choices(("daemon", "worker", "template", "daemon and workers"), (6, 2, 1, 2))[0]
        self.daemon.note_tree()
        tree, workers = self.daemon.tree(), self.daemon.workers()
        if what == "worker":
            victims = workers[:1]
        elif what == "template":
            victims = [process for process in tree if process not in workers][:1]
        else:
            victims = workers if what == "daemon and workers" else []
        if not victims and what != "daemon and workers":
            what = "daemon"  # also where no worker was there to be killed: each round has its kill
        for process in victims:
            _kill_quietly(process)
        if what.startswith("daemon"):
            self._kill_daemon()
        self.verdict.kills[what] += 1

    def _kill_daemon(self) -> None:
        self.daemon.kill()
        after = snapshot(self.daemon.watched)
        self.verdict.killed_under_load += any(
            name in after and after[name].inode == facts.inode for name, facts in self.expected.items()
        )
        try:
            eventually(lambda: not self.daemon.survivors(), 10, "no process outlives the daemon")
        except AssertionError as error:
            self._fail(str(error))
        self.daemon.spawn()

    # ---- the count ----

    def _settle(self) -> None:
        daemon = self.daemon
        try:
            eventually(daemon.answers, 20, "the daemon answers")
            paths = [os.path.join(os.fsencode(daemon.watched), name) for name in sorted(self.expected)]
            eventually(lambda: not daemon.unfinished(paths, 10), 120, "all is done")
        except (AssertionError, ControlFailure) as error:
            self._fail(f"{error}\n{daemon.read_log()[-4000:]}")
            daemon.kill()
            daemon.start()
            return
        after = snapshot(daemon.watched)
        for difference in compare(self.expected, after):
            self._fail(str(difference))
        self._count_results(after)
        self._start_afresh()

    def _count_results(self, after: dict[bytes, FileFacts]) -> None:
        """Each content was done once: as the life of its file tells, and as the file on the disk shows."""
        for name, facts in self.expected.items():
            if name not in after:
                continue
            told = self.daemon.client.why(os.path.join(os.fsencode(self.daemon.watched), name))
            steps = [step["step"] for step in told["steps"]]
            replaced = after[name].content != facts.content
            self.verdict.checked += 1
            if told["state"] not in ("done", "skipped"):
                self._fail(f"{name!r}: {told['state']}: {told['reason']}")
            if not replaced:
                self._fail(f"{name!r}: not made smaller: {told}")
            if steps.count("done") > self.contents[name]:
                self._fail(f"{name!r}: {steps.count('done')} times done, {self.contents[name]} contents: {steps}")
            if self.contents[name] == 1 and "done" in steps and "probed" in steps[steps.index("done") :]:
                self._fail(f"{name!r}: worked on again after it was done: {steps}")

    def _start_afresh(self) -> None:
        for name in self.expected:
            os.unlink(os.path.join(os.fsencode(self.daemon.watched), name))
        self.expected.clear()
        self.contents.clear()

    def _fail(self, sentence: str) -> None:
        self.verdict.failures.append(f"round {self.verdict.rounds}: {sentence}")
        self.say(self.verdict.failures[-1])


def _kill_quietly(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass  # it ended by itself in this moment


def _pool() -> list[bytes]:
    """Pictures that take from some milliseconds to a tenth of a second each."""
    big = [images.png(images.photo(250, 200, seed=500)), images.jpeg(images.photo(1000, 800, seed=501))]
    small = images.jpegs()
    return [*big, *(small[name] for name in ("everything.jpg", "thumbnail.jpg", "grey.jpg")), images.pngs()["text.png"]]
