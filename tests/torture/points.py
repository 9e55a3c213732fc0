"""Trials of the commit path with something done to it at one call, and what must be true afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.replacing import NEW, NEWER, OLD, PROJECT, Seen, seen, temps
from tests.torture.committing import WAYS, Trial
from tests.torture.counting import count
from tests.torture.strace import Strace

KILLED = -signal.SIGKILL


class Trialled(NamedTuple):
    status: int
    injected: int
    """Calls that were made to fail."""
    wrong: list[str]


class Points:
    """A warm process that forks one for each trial, and the folder of the trials. A context manager."""

    def __init__(self, folder: str | None = None) -> None:
        """`folder`: on which filesystem; by default where temporary files are."""
        self._top = Path(tempfile.mkdtemp(prefix="imgoptd-points-", dir=folder))
        self._said = self._top / "said"
        self._number = 0
        with self._said.open("wb") as said:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.committing"],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def __enter__(self) -> Points:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
        shutil.rmtree(self._top)

    def trial(self, way: str) -> tuple[Trial, Seen]:
        """The folders of a new trial, with one file in the watched one; and what the file looks like."""
        self._number += 1
        base = self._top / str(self._number)
        trial = Trial(base)
        for folder in (base, trial.root, trial.spool):
            folder.mkdir()
        if WAYS[way].blocked:
            (trial.root / ".imgoptd").write_bytes(b"somebody else's")
        trial.path.write_bytes(OLD)
        if os.geteuid() == 0:
            os.chown(trial.path, 12345, 12345)
        trial.path.chmod(0o640)
        os.setxattr(trial.path, "user.rating", b"5")
        os.utime(trial.path, ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))
        return trial, seen(trial.path)

    def calls(self, way: str) -> dict[str, int]:
        """How often each system call is made on the way when nothing is done to it."""
        trial, before = self.trial(way)
        pid = self._ask("replace", trial, way)
        with Strace(pid) as strace:
            status = self._go()
        assert status == 0, self.said()
        wrong = self.wrong(trial, before, way)
        assert not wrong, wrong
        return strace.calls

    def undisturbed(self, trial: Trial, way: str) -> int:
        """Go the way; its exit status."""
        self._ask("replace", trial, way)
        return self._go()

    def done_to(self, way: str, inject: str, then: str = "") -> Trialled:
        """Go the way with that injected; then recover, at first with `then` injected where it is given."""
        trial, before = self.trial(way)
        pid = self._ask("replace", trial, way)
        with Strace(pid, inject) as strace:
            status = self._go()
        wrong = self._wrong_at_once(trial, way, status)
        if then:
            pid = self._ask("recover", trial, way)
            with Strace(pid, then):
                self._go()
            wrong += self._wrong_at_once(trial, way, KILLED)
        self._ask("recover", trial, way)
        if (recovered := self._go()) != 0:
            wrong.append(f"recovery ended with {recovered}: {self.said()[-2000:]}")
        wrong += self.wrong(trial, before, way)
        shutil.rmtree(trial.root.parent)
        return Trialled(status, strace.injected, wrong)

    def calls_of_recovery(self, way: str, inject: str) -> dict[str, int]:
        """How often each call is made by the recovery after that."""
        trial, _ = self.trial(way)
        pid = self._ask("replace", trial, way)
        with Strace(pid, inject):
            self._go()
        pid = self._ask("recover", trial, way)
        with Strace(pid) as strace:
            self._go()
        shutil.rmtree(trial.root.parent)
        return strace.calls

    def _ask(self, what: str, trial: Trial, way: str) -> int:
        """The pid of the process that waits to be told to go."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(f"{what}\t{trial.root.parent}\t{way}\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline().removeprefix("ready "))

    def _go(self) -> int:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write("go\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline().removeprefix("ended "))

    def said(self) -> str:
        """What the processes of the trials wrote on standard error."""
        return self._said.read_text(errors="replace")

    # ---- what must be true ------------------------------------------------------------------------------------------

    def _wrong_at_once(self, trial: Trial, way: str, status: int) -> list[str]:
        """Before anything is recovered: whole contents alone, and where no intent is left, no temp either."""
        allowed = {OLD, NEW, NEWER} if WAYS[way].saved else {OLD, NEW}
        wrong = []
        try:
            if seen(trial.path).content not in allowed:
                wrong.append("at once: the path holds neither the old nor the new content")
        except FileNotFoundError:
            wrong.append("at once: the path is empty")
        left = temps(trial.root)
        if left and not _intents(trial):
            wrong.append(f"at once: {left} without an intent")
        if WAYS[way].keeps and not self._saved(trial, way) and OLD not in _contents(trial):
            wrong.append("at once: the original that was to be kept is nowhere")
        if status not in (0, 3, KILLED):
            wrong.append(f"the process ended with {status}: {self.said()[-2000:]}")
        return wrong

    def wrong(self, trial: Trial, before: Seen, way: str) -> list[str]:
        """After all is done: the right content with all that belongs to it, nothing beside it, and told once."""
        wrong = []
        after = seen(trial.path)
        saved = self._saved(trial, way)
        if saved:
            if after.content != NEWER:
                wrong.append(f"the newest content is not at the path but {after.content[:12]!r}")
        elif after != before._replace(
            content=NEW, atime_ns=after.atime_ns
        ):  # each attempt reads it, and relatime counts
            wrong.append(f"not as it should be: {after._replace(content=after.content[:12])}")
        if left := temps(trial.root) + sorted(os.listdir(trial.spool)):
            wrong.append(f"left behind: {left}")
        wrong += self._kept_wrong(trial, before, 1 if WAYS[way].keeps and not saved else 0, WAYS[way].blocked and saved)
        if intents := _intents(trial):
            wrong.append(f"{intents} intents left")
        receipts = count(trial.state, "receipt")
        if receipts != (0 if saved else 1):
            wrong.append(f"{receipts} receipts")
        return wrong

    def _saved(self, trial: Trial, way: str) -> bool:
        """Has somebody saved a newer file meanwhile?"""
        return WAYS[way].saved and not (trial.root.parent / "draft").exists()

    def _kept_wrong(self, trial: Trial, before: Seen, number: int, perhaps: bool) -> list[str]:
        """So many originals are kept, each as it was, and each has its row.

        `perhaps` one more: who dies after an original was copied leaves no sign of who took it from its path.
        """
        kept = [path for path in _undo(trial) if path.is_file()]
        rows = count(trial.state, "kept")
        wrong = [f"kept otherwise than it was: {path.name}" for path in kept if not _same(seen(path), before)]
        if len(kept) != rows or rows not in (number, number + perhaps):
            wrong.append(f"{len(kept)} originals are kept and {rows} rows speak of them, in place of {number}")
        return wrong


def _undo(trial: Trial) -> list[Path]:
    return [*trial.root.glob(".imgoptd/undo/*"), *trial.state.glob("undo/*")]


def _contents(trial: Trial) -> list[bytes]:
    """All there is, wherever an original may be."""
    return [path.read_bytes() for path in [*trial.root.iterdir(), *_undo(trial)] if path.is_file()]


def _same(one: Seen, other: Seen) -> bool:
    return one._replace(atime_ns=0) == other._replace(atime_ns=0)


def _intents(trial: Trial) -> int:
    return count(trial.state, "intent")
