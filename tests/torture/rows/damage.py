"""The store of a killed daemon is damaged: bits flipped, files cut short or taken away. Then the daemon is started."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from imgoptd.cli.client import ControlFailure
from tests import images
from tests.checker import compare, snapshot
from tests.harness import eventually, unique
from tests.torture.lanes import lanes, side_by_side
from tests.torture.report import Report
from tests.torture.warm import WarmDaemon

NAME = "damage"
ASKS = "store bit flips, truncation, missing WAL: images untouched, and the daemon works on"

FILES = 6
SOON_S = 30.0
DATABASE, LOG, INDEX = "store.sqlite", "store.sqlite-wal", "store.sqlite-shm"
YOUNG_SHARE = 0.2
"""How many of the stores have only just been begun: of these the log holds nearly all."""
HARMS = ("bit", "bits", "page", "cut", "empty", "gone")


class Damaged:
    """A daemon whose store is damaged again and again. A context manager."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._number = 0
        self.daemon = WarmDaemon(settle="50ms")
        self.said = 0
        """Starts at which the daemon said that its store was damaged."""

    def __enter__(self) -> Damaged:
        self.daemon.start_watching()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.daemon.__exit__(kind, error, trace)

    def trial(self, harm: str, which: str) -> list[str]:
        daemon, dice = self.daemon, self._dice
        if dice.random() < YOUNG_SHARE:
            daemon.kill()
            shutil.rmtree(daemon.base / "state")
            daemon.start_watching()
        staged = daemon.base / "staged"
        staged.mkdir(exist_ok=True)
        names = [self._make(staged) for _ in range(FILES)]
        before = snapshot(staged)
        for name in names:
            os.rename(staged / name, daemon.watched / name)
        time.sleep(dice.uniform(0.0, 0.4))
        daemon.kill()
        _harm(daemon.base / "state" / which, harm, dice)
        daemon.log.unlink()
        wrong = []
        try:
            daemon.start()
            # With a new store it takes what stands there for what stood there before it came.
            eventually(lambda: "ready: " in daemon.read_log(), SOON_S, f"it is ready: {daemon.read_log()[-1500:]}")
        except AssertionError as error:
            daemon.kill()
            shutil.rmtree(daemon.base / "state")
            self._start_afresh()
            daemon.start()
            return [f"it does not start: {error}"]
        wrong += self._works_on(staged, [os.fsencode(daemon.watched / name) for name in names])
        self.said += "damaged" in daemon.read_log()
        after = {name: facts for name, facts in snapshot(daemon.watched).items() if b"imgoptd-" not in name}
        wrong += [str(one) for one in compare(before, after, atime=False)]
        if wrong:
            wrong.append(daemon.read_log()[-1500:])
        self._start_afresh()
        return wrong

    def _make(self, folder: Path) -> str:
        self._number += 1
        name = f"{self._number}.jpg"
        (folder / name).write_bytes(unique(_PICTURE, f"content {self._number}"))
        return name

    def _works_on(self, staged: Path, before: list[bytes]) -> list[str]:
        """What stood there comes to an end, and a new file is done."""
        name = self._make(staged)
        target = self.daemon.watched / name
        inode = (staged / name).stat().st_ino
        os.rename(staged / name, target)
        since = time.monotonic()
        try:
            while self.daemon.unfinished([*before, os.fsencode(target)], 1):
                if time.monotonic() - since > SOON_S:
                    return [
                        f"not done within {SOON_S:.0f} s: {self.daemon.unfinished([*before, os.fsencode(target)], 1)}"
                    ]
                time.sleep(0.05)
            return [] if target.stat().st_ino != inode else ["a new file was not made smaller"]
        except ControlFailure as error:
            return [str(error)]
        finally:
            target.unlink()

    def _start_afresh(self) -> None:
        for path in self.daemon.watched.iterdir():
            path.unlink()
        for path in (self.daemon.base / "state").glob("*.damaged-*"):
            path.unlink()


def _harm(path: Path, harm: str, dice: random.Random) -> None:
    """Do it; nothing where there is no such file, or it is empty."""
    if not path.exists() or not (size := path.stat().st_size):
        return
    if harm == "gone":
        path.unlink()
        return
    with path.open("r+b") as file:
        if harm in ("cut", "empty"):
            file.truncate(dice.randrange(size) if harm == "cut" else 0)
            return
        for _ in range({"bit": 1, "bits": 50, "page": 1}[harm]):
            at = dice.randrange(size)
            file.seek(at)
            piece = file.read(4096 if harm == "page" else 1)
            file.seek(at)
            file.write(dice.randbytes(len(piece)) if harm == "page" else bytes([piece[0] ^ 1 << dice.randrange(8)]))


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    end = time.monotonic() + seconds
    dice = random.Random(seed)
    report = Report()
    lived: list[Damaged] = []
    did: Counter[str] = Counter()

    def lane() -> Damaged:
        lived.append(Damaged(random.Random(dice.random())))
        return lived[-1]

    def harms() -> Iterator[tuple[str, str]]:
        while rounds is None or report.rounds < rounds:
            yield dice.choice(HARMS), dice.choices((DATABASE, LOG, INDEX), (4, 4, 1))[0]

    def trial(damaged: Damaged, harm: tuple[str, str]) -> None:
        for wrong in damaged.trial(*harm):
            report.fail(f"{' of '.join(harm)}: {wrong}")
        did[harm[0]] += 1
        report.rounds += 1

    side_by_side(harms(), lane, trial, end, lanes())
    report.figures = {f"damages: {harm}": str(number) for harm, number in did.most_common()}
    report.figures["said to be damage at the start"] = str(sum(damaged.said for damaged in lived))
    return report


_PICTURE = images.jpegs()["everything.jpg"]
