"""The daemon's wall clock jumps by a day, forward or back, at random moments of a file's way.

A small library (`wall_clock.c`) moves the clock of the daemon alone: to it, files then come from tomorrow or from
yesterday, as they do when the clock of the machine is set. The monotonic clock goes on, as it does then. (libfaketime
slows threads down by seconds.)
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from imgoptd.cli.client import ControlFailure
from tests import images
from tests.harness import eventually, unique
from tests.torture.lanes import lanes, side_by_side
from tests.torture.report import CannotRun, Report
from tests.torture.warm import WarmDaemon

NAME = "clock"
ASKS = "clock +- 1 day: no stall, no early settle"

SOURCE = Path(__file__).parents[1] / "wall_clock.c"
DAY_S = 86_400
OFFSETS_S = (0, DAY_S, -DAY_S)
SOON_S = 15.0
STOOD = 40
"""Files that stand in a folder when it is first watched."""


class Clocked:
    """A daemon under a clock of its own. A context manager."""

    def __init__(self, library: str, dice: random.Random) -> None:
        self._dice = dice
        self._number = 0
        self._clock, self._clock_path = tempfile.mkstemp(prefix="imgoptd-clock-")
        self.jump(dice.choice(OFFSETS_S))
        self.daemon = WarmDaemon(
            settle="100ms",
            environment={"LD_PRELOAD": library, "IMGOPTD_CLOCK": self._clock_path},
        )

    def __enter__(self) -> Clocked:
        self.daemon.start_watching()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.daemon.__exit__(kind, error, trace)
        os.close(self._clock)
        os.unlink(self._clock_path)

    def jump(self, offset_s: int) -> None:
        os.pwrite(self._clock, offset_s.to_bytes(8, sys.byteorder, signed=True), 0)
        self.offset_s = offset_s

    def jumps(self) -> None:
        """Now, or a little later; anywhere."""
        time.sleep(self._dice.choice((0.0, self._dice.uniform(0, 0.3))))
        self.jump(self._dice.choice(OFFSETS_S))

    def content(self) -> tuple[Path, bytes]:
        self._number += 1
        return self.daemon.watched / f"{self._number}.jpg", unique(_PICTURE, f"content {self._number}")

    # ---- trials -----------------------------------------------------------------------------------------------------

    def moved_in(self) -> list[str]:
        path, content = self.content()
        staged = self.daemon.base / "staged"
        staged.write_bytes(content)
        os.rename(staged, path)
        self.jumps()
        return self.wrong(path)

    def slowly_written(self) -> list[str]:
        """In pieces with pauses longer than `settle`, the file kept open."""
        path, content = self.content()
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(content), len(content) // 3):
                file.write(content[start : start + len(content) // 3])
                self.jumps()
                time.sleep(self._dice.uniform(0.1, 0.4))
            status = os.fstat(file.fileno())
            early = self.early(path, status.st_ino)
        return early + self.wrong(path)

    def while_it_was_down(self) -> list[str]:
        path, content = self.content()
        self.daemon.kill()
        path.write_bytes(content)
        self.jumps()
        self.daemon.start()
        return self.wrong(path)

    def first_watched(self) -> list[str]:
        """Of what stands there nothing is touched; of what comes later nothing is forgotten."""
        self.daemon.kill()
        daemon = self.daemon
        shutil.rmtree(daemon.base / "state")
        shutil.rmtree(daemon.watched)
        daemon.watched.mkdir()
        stood: dict[Path, int] = {}
        for _ in range(STOOD):
            path, content = self.content()
            path.write_bytes(content)
            stood[path] = path.stat().st_ino
        time.sleep(0.05)
        self.jump(self._dice.choice(OFFSETS_S))
        first = f"the clock {self.offset_s:+d} s when it was first watched: "
        daemon.log.unlink()
        daemon.start()
        eventually(lambda: "ready: " in daemon.read_log(), SOON_S, "it is ready")
        path, content = self.content()
        path.write_bytes(content)
        self.jumps()
        wrong = self.wrong(path)
        time.sleep(0.5)  # whatever it does to what stood there, it has begun by now
        touched = [one.name for one, inode in stood.items() if one.stat().st_ino != inode]
        if touched:
            wrong.append(f"{len(touched)} of {STOOD} files that stood there were made smaller")
        return [first + one for one in wrong]

    # ---- what must be true ------------------------------------------------------------------------------------------

    def early(self, path: Path, inode: int) -> list[str]:
        try:
            told = self.daemon.client.why(os.fsencode(path))
        except ControlFailure:
            return []  # not a word of it yet
        steps = [step["step"] for step in told["steps"]]
        read = [step for step in steps if step not in ("settling", "queued")]
        return [f"read while it was written: {told}"] if read or path.stat().st_ino != inode else []

    def wrong(self, path: Path) -> list[str]:
        """The whole file is done soon, in one go, and the times that are told lie within the jumps."""
        inode = path.stat().st_ino
        began = time.monotonic()
        told = {}
        while time.monotonic() - began < SOON_S:
            try:
                told = self.daemon.client.why(os.fsencode(path))
            except ControlFailure:
                told = {}
            if told.get("state") == "done":
                break
            time.sleep(0.02)
        else:
            return [f"not done within {SOON_S:.0f} s: {told or 'it knows nothing of the file'}"]
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        steps = [step["step"] for step in told["steps"]]
        wrong = []
        if steps.count("probed") != 1 or steps.count("done") != 1:
            wrong.append(f"not done in one go: {steps}")
        if path.stat().st_ino == inode and steps.count("done") and told["steps"][-1]["step"] != "done":
            wrong.append(f"told as done and not replaced: {told}")
        now_s = time.time()
        for step in told["steps"]:
            if abs(step["time"] - now_s) > DAY_S + 60:
                wrong.append(f"at a time that never was: {step}")
        return wrong

    longest_s = 0.0


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    """`rounds`: at most that many."""
    with tempfile.TemporaryDirectory(prefix="imgoptd-clock-") as folder:
        return _run(_built(folder), seconds, seed, rounds)


def _built(folder: str) -> str:
    library = f"{folder}/wall_clock.so"
    if shutil.which("cc") is None:
        raise CannotRun("there is no C compiler (apt-get install gcc libc6-dev)")
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


def said_a_day_ahead(command: list[str]) -> str:
    """What a program prints whose clock runs a day ahead."""
    with tempfile.TemporaryDirectory(prefix="imgoptd-clock-") as folder:
        ahead = Path(folder) / "ahead"
        ahead.write_bytes(DAY_S.to_bytes(8, sys.byteorder, signed=True))
        environment = {**os.environ, "LD_PRELOAD": _built(folder), "IMGOPTD_CLOCK": str(ahead)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _run(library: str, seconds: float, seed: int, rounds: int | None) -> Report:
    end = time.monotonic() + seconds
    dice = random.Random(seed)
    report = Report()
    lived: list[Clocked] = []

    def lane() -> Clocked:
        clocked = Clocked(library, random.Random(dice.random()))
        lived.append(clocked)
        return clocked

    def trials() -> Iterator[Callable[[Clocked], list[str]]]:
        ways = (Clocked.moved_in, Clocked.slowly_written, Clocked.while_it_was_down, Clocked.first_watched)
        for _ in itertools.count() if rounds is None else range(rounds):
            yield dice.choices(ways, (4, 4, 2, 1))[0]

    def trial(clocked: Clocked, what: Callable[[Clocked], list[str]]) -> None:
        for wrong in what(clocked):
            report.fail(f"{what.__name__}: {wrong}")
        report.rounds += 1
        kinds[what.__name__] += 1

    kinds: Counter[str] = Counter()
    side_by_side(trials(), lane, trial, end, lanes() * 2)
    report.figures = {name.replace("_", " "): str(number) for name, number in kinds.most_common()}
    report.figures["longest wait for a file"] = f"{max(clocked.longest_s for clocked in lived):.1f} s"
    return report


_PICTURE = images.jpegs()["everything.jpg"]
