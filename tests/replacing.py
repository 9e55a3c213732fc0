"""One replace by hand, for tests: what the daemon does with a worker's result, and what is seen of a file.

As a program it does one replace and writes the intent to standard output first, as the daemon writes it to its store:
`python -m tests.replacing ROOT NAME RESULT_BYTES [refusal ...]` (see `refuse`).
"""

from __future__ import annotations

import ctypes
import os
import pickle
import platform
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace as with_fields
from pathlib import Path
from signal import SIGKILL
from typing import NamedTuple

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import ignore_lease_signals, look
from imgoptd.adapters.replace import (
    Materialised,
    OpenJob,
    Placed,
    Recovery,
    Refused,
    exchange,
    open_job,
    prepare,
    recover,
)
from imgoptd.core.model import FileRef, Identity, Intent
from tests.another_user import NOBODY, run_as

OLD = b"the original, as it was " * 50
NEW = b"the result" * 50
NEWER = b"what somebody wrote since, which must not be lost" * 20
NEWEST = b"written later still" * 30
PROJECT = Path(__file__).parents[1]

FILESYSTEMS = ["disk", "tmpfs", "overlay"]


def put_original(root: Path) -> None:
    """Make `a.jpg`, with metadata that a replace must keep."""
    (root / "a.jpg").write_bytes(OLD)
    (root / "a.jpg").chmod(0o640)
    os.setxattr(root / "a.jpg", "user.rating", b"5")
    os.utime(root / "a.jpg", ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))


def drop_in(root: Path, content: bytes) -> Callable[[], object]:
    """Somebody saves `a.jpg` as editors and rsync do: write beside, rename over the path."""

    def act() -> None:
        (root / "draft").write_bytes(content)
        (root / "draft").rename(root / "a.jpg")

    return act


@contextmanager
def filled(kind: str, tmp_path: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """A folder `root` on such a filesystem, with what `fill` puts there; of an overlay, in the lower layer.

    Its parent is of the test as well.
    """
    base = tmp_path if kind == "disk" else Path(tempfile.mkdtemp(dir="/dev/shm"))
    root = base / "root"
    root.mkdir()
    try:
        if kind != "overlay":
            fill(root)
            yield root
            return
        for layer in ("lower", "upper", "work"):
            (base / layer).mkdir()
        fill(base / "lower")
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        if subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], capture_output=True).returncode:
            import pytest  # here, because it would double the start of each process that only replaces

            pytest.skip("mounting an overlay is not allowed here")
        try:
            yield root
        finally:
            subprocess.run(["umount", "--lazy", root], check=True)
    finally:
        if kind != "disk":
            shutil.rmtree(base)


def said_by(code: str, *arguments: str, before: tuple[str, ...] = (), nobody: bool = False) -> str:
    """What a Python process prints that has this module's names; under `before`, or as an unprivileged user."""
    code = "from tests.replacing import *\n" + code
    if nobody:
        assert not before
        done = run_as(NOBODY, code, *arguments)
    else:
        command = [*before, sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Seen(NamedTuple):
    """All of a file but its inode, its times of birth and status change, and the number of its names."""

    content: bytes
    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    xattrs: dict[str, bytes]


def seen(path: Path) -> Seen:
    status = path.stat()  # before reading, which moves the access time
    fd = os.open(path, os.O_RDONLY)
    try:
        content = os.pread(fd, status.st_size + 1, 0)
        xattrs = {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
    finally:
        os.close(fd)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return Seen(content, status.st_mode, status.st_uid, status.st_gid, status.st_atime_ns, status.st_mtime_ns, xattrs)


def temps(root: Path) -> list[str]:
    """What a replace may have left below the folder: temps, and files kept when two versions met."""
    return sorted(path.name for path in root.rglob("*imgoptd-*"))


def identity(folder: Folder, name: bytes) -> Identity:
    found = look(folder, name).identity
    assert found is not None
    return found


def start(folder: Folder, name: bytes, spool: Path, result: bytes = NEW) -> OpenJob:
    """An open job whose output holds `result`, as after a worker."""
    job = open_job(folder, name, identity(folder, name), os.fsencode(spool))
    os.write(job.output_fd, result)
    return job


def intend(folder: Folder, name: bytes, job: OpenJob, result: bytes = NEW) -> Intent:
    """Prepare the job and say what the durable intent would."""
    ready = prepare(job, len(result))
    ref = FileRef(folder.root, name)
    return Intent(ref, ready.temp_name, job.identity, ready.result, ready.sha256, sha256_of(job.input_fd))


def finish(job: OpenJob, intent: Intent) -> Placed:
    """Exchange, by way of a copy where the filesystem needs one."""
    done = exchange(job, intent)
    if isinstance(done, Materialised):
        done = exchange(job, with_fields(intent, result=done.result))
    assert isinstance(done, Placed)
    return done


def in_process(root: Path, name: str, *refusals: str, failpoint: str = "") -> tuple[int, list[Intent]]:
    """Do the replace in a process of its own; its exit status, and the intents it made durable, in order."""
    environment = {**os.environ, "IMGOPTD_FAILPOINT": failpoint}
    command = [sys.executable, "-m", "tests.replacing", str(root), name, str(len(NEW)), *refusals]
    done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, timeout=60)
    intents = []
    rest = done.stdout
    while rest:
        size = int.from_bytes(rest[:4], "big")
        intents.append(pickle.loads(rest[4 : 4 + size]))
        rest = rest[4 + size :]
    return done.returncode, intents


def outcome(root: str, name: str = "a.jpg") -> str:
    """Do a whole replace; `placed`, or kind and reason of the failure."""
    try:
        with Folder(os.fsencode(root)) as folder, start(folder, os.fsencode(name), Path(root)) as job:
            finish(job, intend(folder, os.fsencode(name), job))
            return "placed"
    except Refused as refused:
        return f"{refused.failure.kind} {refused.failure.reason}"


def recovered(root: Path, intent: Intent) -> Recovery:
    """Recover, and again, which must change nothing more."""
    with Folder(os.fsencode(root)) as folder:
        done = recover(folder, intent)
        again = recover(folder, intent)
    assert (again.finished, again.identity, again.settled) == (done.finished, done.identity, True)
    return done


def crashed(root: Path, point: str) -> tuple[Intent, Path]:
    """A replace that died there; its intent and its temp."""
    status, intents = in_process(root, "a.jpg", failpoint="replace." + point)
    assert status == -SIGKILL
    return intents[-1], root / os.fsdecode(intents[-1].temp_name)


# ---- a kernel that refuses ------------------------------------------------------------------------------------------

_CALLS = {
    "x86_64": {"openat": 257, "renameat2": 316, "openat2": 437, "fsync": 74},
    "aarch64": {"openat": 56, "renameat2": 276, "openat2": 437, "fsync": 82},
}
_REFUSALS = {
    "tmpfile": ("openat", 2, 0o20000000, 95),  # EOPNOTSUPP to __O_TMPFILE, as NFS and FUSE say
    "exchange": ("renameat2", 4, 2, 22),  # EINVAL to RENAME_EXCHANGE, likewise
    "noreplace": ("renameat2", 4, 1, 22),  # EINVAL to RENAME_NOREPLACE, likewise
    "openat2": ("openat2", None, 0, 38),  # ENOSYS, as kernels before 5.6 say
    "openat2-by-filter": ("openat2", None, 0, 1),  # EPERM, as old container runtimes say
    "fsync": ("fsync", None, 0, 5),  # EIO, as a dying disk says
}


def can_refuse() -> bool:
    return platform.machine() in _CALLS


def refuse(what: str) -> None:
    """Have the kernel refuse a call (or a call with a flag) from now on in this process, by a seccomp filter."""
    call, argument, flag, error = _REFUSALS[what]
    load, equal, any_of, answer = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
    program = [(load, 0, 0, 0), (equal, 0, 1 if argument is None else 3, _CALLS[platform.machine()][call])]
    if argument is not None:
        program += [(load, 0, 0, 16 + 8 * argument), (any_of, 0, 1, flag)]
    program += [(answer, 0, 0, 0x00050000 | error), (answer, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code)
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, filter_mode, filters, 0, 0) == 0, os.strerror(ctypes.get_errno())


def save(intent: Intent) -> None:
    data = pickle.dumps(intent)
    os.write(1, len(data).to_bytes(4, "big") + data)


def main(root: str, name: str, result_bytes: str, *refusals: str) -> None:
    ignore_lease_signals()
    for what in refusals:
        refuse(what)
    result = NEW[: int(result_bytes)]
    path = os.fsencode(name)
    spool = Path(root).parent / "spool"
    spool.mkdir(exist_ok=True)
    with Folder(os.fsencode(root)) as folder, start(folder, path, spool, result) as job:
        intent = intend(folder, path, job, result)
        save(intent)
        done = exchange(job, intent)
        if isinstance(done, Materialised):
            intent = with_fields(intent, result=done.result)
            save(intent)
            done = exchange(job, intent)
        assert isinstance(done, Placed)
        assert done.atomic == ("exchange" not in refusals)
        assert stat.S_ISREG(os.lstat(folder.root + b"/" + path).st_mode)


if __name__ == "__main__":
    main(*sys.argv[1:])
