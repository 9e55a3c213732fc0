"""An original whose own bytes go into the output tree, because there is no result for it."""

from __future__ import annotations

from imgoptd.adapters.mirror.opening import MirrorJob
from imgoptd.adapters.replace.failures import ReplaceError, changed, failure_of
from imgoptd.adapters.replace.keeping import copy_content
from imgoptd.adapters.replace.preparing import PreparedResult, check_unchanged, seal


def prepare_copy(job: MirrorJob) -> PreparedResult:
    """Put the original's bytes into the output, then all as `replace.prepare` does with a result.

    The hash is of the copy, as it was read back. Raises ReplaceError: CHANGED; TRANSIENT as `replace.prepare`.
    """
    check_unchanged(job)
    try:
        copy_content(job.input_fd, job.output_fd)
    except OSError as error:
        raise ReplaceError(failure_of(error, "the original could not be copied", "io-error")) from error
    return seal(job, lambda size: _check_size(size, job.identity.size))


def _check_size(size: int, original: int) -> None:
    if size != original:
        raise ReplaceError(changed("changed", "the file changed while it was copied"))
