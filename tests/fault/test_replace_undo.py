"""Undoing an exchange while the path fills, empties and is saved to."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.replace import Refused, open_job
from imgoptd.adapters.replace.names import Names
from imgoptd.adapters.replace.putback import put_back
from imgoptd.core.model import FailureKind, Identity
from tests.replacing import NEW, NEWER, NEWEST, OLD, drop_in, finish, identity, intend, seen, temps


class Filled(Names):
    """The first time that the path is found empty, somebody fills it before we can."""

    def temp_into_gap(self) -> None:
        if not Path(f"/proc/self/fd/{self.parent_fd}/a.jpg").exists():
            Path(f"/proc/self/fd/{self.parent_fd}/a.jpg").write_bytes(NEWEST)
        super().temp_into_gap()


class Emptied(Names):
    """When the path is found empty, somebody removes the temp too."""

    def temp_into_gap(self) -> None:
        self.remove_temp()
        super().temp_into_gap()


class Flickering(Names):
    """The path is empty for each exchange, and filled for each attempt to fill it."""

    def exchange(self) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    def temp_into_gap(self) -> None:
        raise FileExistsError(errno.EEXIST, "there")


def undoing(kind: type[Names], root: Path) -> tuple[Names, int, Identity]:
    """An undo in a folder where the path is empty and the temp holds somebody's file; a result that has no name."""
    (root / "a.jpg").unlink()
    (root / "temp").write_bytes(NEWER)
    result_fd = os.open(root, os.O_TMPFILE | os.O_RDWR)
    return kind(os.open(root, os.O_PATH), b"temp", b"a.jpg"), result_fd, identity_of(os.fstat(result_fd))


@pytest.mark.parametrize(
    ("kind", "stands", "rest"), [(Filled, NEWEST, [NEWER]), (Emptied, None, []), (Flickering, None, [NEWER])]
)
def test_a_path_that_fills_or_empties_while_it_is_put_back_loses_nothing(
    root: Path, kind: type[Names], stands: bytes | None, rest: list[bytes]
) -> None:
    names, result_fd, result = undoing(kind, root)
    try:
        if kind is Flickering:
            with pytest.raises(OSError, match="without end"):
                put_back(names, result_fd, result)
        else:
            put_back(names, result_fd, result)
    finally:
        os.close(names.parent_fd)
        os.close(result_fd)
    found = {path.name: path.read_bytes() for path in root.iterdir()}
    assert found.pop("a.jpg", None) == stands
    assert list(found.values()) == rest


def test_saves_in_a_race_with_replaces_are_never_lost(root: Path, folder: Folder) -> None:
    """A program saves numbered contents by rename as fast as it can, while replaces run against it."""
    last: list[bytes] = []
    done = threading.Event()

    def save() -> None:
        number = 0
        while not done.is_set():
            number += 1
            content = b"%08d" % number + OLD
            drop_in(root, content)()
            last[:] = [content]

    saver = threading.Thread(target=save)
    saver.start()
    try:
        for _ in range(300):
            replace_what_stands(folder)
    finally:
        done.set()
        saver.join()
    # The last save stands, or a result that was made of it: a result of an older one would be another number.
    assert seen(root / "a.jpg").content in (last[0], last[0][: len(NEW)])
    assert not [name for name in temps(root) if name.startswith(".")]


def replace_what_stands(folder: Folder) -> None:
    """Replace the file by the beginning of what stands there, unless it changes meanwhile or is such a result."""
    try:
        with open_job(folder, b"a.jpg", identity(folder, b"a.jpg"), b"/tmp") as job:
            result = os.pread(job.input_fd, len(NEW), 0)
            os.write(job.output_fd, result)
            finish(job, intend(folder, b"a.jpg", job, result))
    except Refused as refused:
        assert refused.failure.kind is FailureKind.CHANGED or refused.failure.reason == "not-smaller", refused.failure
