"""Opening an original, and a place in the output tree for what becomes of it."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from imgoptd.adapters.beneath import Folder, reopen_for_reading
from imgoptd.adapters.look import identity_of, leased_stat
from imgoptd.adapters.mirror.folders import open_parent
from imgoptd.adapters.replace.failures import Refused, failure_of, transient
from imgoptd.adapters.replace.names import Names
from imgoptd.adapters.replace.opening import OpenJob, close_all, open_original, open_output
from imgoptd.core.finished import same_content
from imgoptd.core.model import Failure, FailureKind, Identity, Lease, Output
from imgoptd.core.naming import own_place

_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EXDEV})


@dataclass(slots=True)
class MirrorJob(OpenJob):
    """An open job whose result goes into an output tree; `parent_fd` and `name` are those of the original."""

    target_fd: int = -1
    """O_PATH, of the folder in the output tree."""
    target_name: bytes = b""
    """Of the result in that folder."""
    standing_fd: int = -1
    """Read-only, of our earlier output for the file; -1 where nothing stands there."""
    standing: os.stat_result | None = None
    """Of the earlier output, when it was opened."""
    earlier: Output | None = None
    """What the store knows of the earlier output."""

    @property
    def displaces(self) -> Identity:
        if self.standing is not None:
            return identity_of(self.standing)
        return Identity(os.fstat(self.target_fd).st_dev, 0, 0, 0)

    def is_made_from(self, sha256: str) -> bool:
        """Does the output of this very content stand there already?"""
        return self.standing is not None and self.earlier is not None and self.earlier.source_sha256 == sha256

    def close(self) -> None:
        OpenJob.close(self)  # no super(): the class is made anew for its slots
        fds = (self.target_fd, self.standing_fd)
        self.target_fd = self.standing_fd = -1
        close_all(fds)


def open_job(
    source: Folder, output: Folder, path: bytes, identity: Identity, earlier: Output | None, spool_dir: bytes
) -> MirrorJob:
    """Open the input as `replace.open_job` does, and an empty output without a name in the folder of the output tree.

    Folders that are missing there are made. Raises Refused: as `replace.open_job`; REJECTED `output-taken` where
    something stands there that is not just as we put it there; TRANSIENT `output-busy`.
    """
    job = open_original(MirrorJob, source, path, identity)
    try:
        try:
            job.target_fd = open_parent(output, source, own_place(path))
        except OSError as error:
            raise Refused(_no_folder(error)) from error
        job.target_name = own_place(path).rpartition(b"/")[2]
        job.earlier = earlier
        _open_standing(job)
        doing = "no file can be made in the output folder"
        job.output_fd, job.linkable = open_output(job.target_fd, spool_dir, identity.size, doing)
    except BaseException:
        job.close()
        raise
    return job


def _open_standing(job: MirrorJob) -> None:
    """Take in what stands at the target: nothing, or our earlier output. Raises Refused for anything else."""
    try:
        pin = Names(job.target_fd, b"", job.target_name).pin_name()
        if pin is None:
            return
        try:
            if not _is_ours(os.fstat(pin), job.earlier):
                raise Refused(taken())
            job.standing_fd = reopen_for_reading(pin)
        finally:
            os.close(pin)
        lease, job.standing = leased_stat(job.standing_fd)
    except BlockingIOError:
        lease = Lease.BUSY
    except OSError as error:
        raise Refused(failure_of(error, "what stands in the output folder cannot be opened", "unreadable")) from error
    if lease is Lease.BUSY:
        raise Refused(transient("output-busy", "another program has its earlier output open for writing"))


def _is_ours(status: os.stat_result, earlier: Output | None) -> bool:
    if earlier is None or not stat.S_ISREG(status.st_mode):
        return False
    return same_content(identity_of(status), earlier.identity)


def taken() -> Failure:
    return Failure(
        FailureKind.REJECTED,
        "output-taken",
        "in the output folder something has its name that imgoptd did not put there for it, or that was changed since; "
        "it is left alone: move it away, then touch the original, or imgoptctl retry it",
    )


def _no_folder(error: OSError) -> Failure:
    if error.errno in _IN_THE_WAY:
        return taken()
    if error.errno == errno.ENOENT:
        return transient("folder-lost", "its folder vanished here or in the output tree")
    return failure_of(error, "its folder in the output tree cannot be made", "folder-not-writable")
