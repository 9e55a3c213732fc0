"""Undoing an exchange, so that the newest content stands at the path and nothing of anybody's is lost.

The temp names what the exchange displaced (`held`: a user's file), the path names our result, standing in for it.
Others may rename onto the path, delete it or move it away between any two calls of ours. Exchanging back and looking at
what came out shows each of these:

- the stand-in came out: the path holds what it held, the temp may go;
- something else came out: somebody put it there, over the stand-in. It is newer; it goes back in turn;
- the path is empty: what is held moves into the gap.

Only our stand-in is ever unlinked here, unchanged and opened by nobody for writing. A user's file that a save by
somebody else superseded while it was displaced is kept under a visible name: who saved may have read the stand-in
instead of it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from imgoptd.adapters import failpoints
from imgoptd.adapters.look import identity_of, leased_stat
from imgoptd.adapters.replace.names import Names, same_file
from imgoptd.core.model import Identity, Lease

_ROUNDS = 100
"""Somebody renames onto the path within each of our microseconds: after so many the rest is kept beside it."""


def put_back(names: Names, result_fd: int, result: Identity, *, stays: bool = False) -> bytes | None:
    """Bring what the temp names back to the path, in whose place the file behind `result_fd` (read-only) was put.

    With `stays` that file is left at the temp's name when it has come out: a kept original is where it was before.
    Returns the visible name under which a file had to be kept, or None. Raises OSError when names cannot be changed any
    more (a filesystem gone read-only): nothing is lost, but the temp is left.
    """
    with ExitStack() as pins:
        held = names.pin_temp()
        if held is None:
            return None  # somebody removed the temp: there is nothing to put back
        pins.callback(os.close, held)
        standing = result_fd
        for _ in range(_ROUNDS):
            try:
                if not names.exchange_or_fill():
                    return None
            except FileNotFoundError:
                return None  # the temp is gone
            failpoints.hit("replace.after_exchange_back")
            came = names.pin_temp()
            if came is None:
                return None
            pins.callback(os.close, came)
            if same_file(came, standing):
                if standing != result_fd or not is_result(result_fd, result):
                    return names.keep_temp()
                if not stays:
                    names.remove_temp()
                return None
            standing, held = held, came
        return names.keep_temp()


def is_result(fd: int, result: Identity) -> bool:
    """Is the file behind `fd` (read-only) our result as we made it, with nobody about to write to it?"""
    lease, status = leased_stat(fd)
    return identity_of(status) == result and lease is not Lease.BUSY
