"""Opening what a job needs, and putting its result where the job was opened for.

Everything here may block and is called in a thread. It raises Refused, also while a folder is out of reach, and
OSError.
"""

from __future__ import annotations

from collections.abc import Callable

from imgoptd.adapters import mirror
from imgoptd.adapters import replace as swap
from imgoptd.adapters.hashing import sha256_of
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FileRef, Identity, Intent, KeptAt, Mirror
from imgoptd.daemon.folders import Folders


def open_job(
    folders: Folders, command: c.SendJob, refuse_companion: Callable[[FileRef], None], spool_dir: bytes
) -> swap.OpenJob:
    """The job, its input read whole. `refuse_companion` raises for what is left alone for the sake of other files."""
    job: swap.OpenJob
    if command.mirror is not None:
        job = _open_mirrored(folders, command.ref, command.identity, command.mirror, spool_dir)
    else:
        folder = folders.held(command.ref.root)
        refuse_companion(command.ref)
        job = swap.open_job(folder, command.ref.path, command.identity, spool_dir)
    return _read(job)


def open_copy(folders: Folders, command: c.Copy, spool_dir: bytes) -> mirror.MirrorJob | e.Standing:
    """The job of a copy, or the answer that the output of just that content stands there already."""
    job = _open_mirrored(folders, command.ref, command.identity, command.mirror, spool_dir)
    if job.standing is None:
        return job  # the copy is hashed as it is made
    _read(job)
    if not stands(job):
        return job
    job.close()
    return e.Standing(command.ref, job.sha256)


def prepare_copy(job: mirror.MirrorJob) -> tuple[swap.PreparedResult, KeptAt | None]:
    return mirror.prepare_copy(job), None


def stands(job: swap.OpenJob) -> bool:
    """Does what was made from the content of the job, which was read, stand in the output tree already?"""
    return isinstance(job, mirror.MirrorJob) and job.is_made_from(job.sha256)


def put(job: swap.OpenJob, intent: Intent) -> swap.Placed | swap.Materialised:
    """A job that was opened for the other kind of place must never get there: an original would go.

    Raises ReplaceError, and ValueError for such a job.
    """
    if isinstance(job, mirror.MirrorJob):
        if intent.mirrored is not None:
            return mirror.place(job, intent)
    elif intent.mirrored is None:
        return swap.exchange(job, intent)
    raise ValueError("the job was opened for another place than its intent names")


def _open_mirrored(
    folders: Folders, ref: FileRef, identity: Identity, target: Mirror, spool_dir: bytes
) -> mirror.MirrorJob:
    source, output = folders.held(ref.root), folders.outputs.held(target.root)
    return mirror.open_job(source, output, ref.path, identity, target.earlier, spool_dir)


def _read(job: swap.OpenJob) -> swap.OpenJob:
    try:
        job.sha256 = sha256_of(job.input_fd)
    except BaseException:
        job.close()
        raise
    return job
