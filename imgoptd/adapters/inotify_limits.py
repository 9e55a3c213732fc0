"""The kernel's limits on inotify, and what to do about them."""

from __future__ import annotations

import errno

from imgoptd.core.text import show_path


class Exhausted(Exception):
    """The kernel gives no more inotify watches or instances."""

    def __init__(self, root: bytes, number: int) -> None:
        """`number` is the errno: ENOSPC where watches ran out, EMFILE where instances did."""
        watches = number == errno.ENOSPC
        key, limit = inotify_limit("watches" if watches else "instances")
        better = max(2 * limit, 524288 if watches else 1024)
        what = "inotify watch" if watches else "inotify instance or descriptor"
        self.sentence = f"no {what} is left for {show_path(root)} ({key} = {limit})"
        self.mend = mend(key, better)
        super().__init__(self.sentence)


def inotify_limit(what: str) -> tuple[str, int]:
    """The sysctl key that limits this user's `watches` or `instances`, and its value; 0 where /proc cannot be read.

    Two keys hold at once: the machine's, and that of the user namespace (a container), which may be lower.
    """
    found = []
    for key in (f"fs.inotify.max_user_{what}", f"user.max_inotify_{what}"):
        try:
            with open("/proc/sys/" + key.replace(".", "/"), encoding="ascii") as file:
                found.append((key, int(file.read())))
        except (OSError, ValueError):
            continue
    return min(found, key=lambda pair: pair[1], default=(f"fs.inotify.max_user_{what}", 0))


def mend(key: str, value: int) -> str:
    return (
        f"put {key} = {value} into /etc/sysctl.d/60-imgoptd.conf and run sysctl --system, "
        'or set backend = "poll" for this folder'
    )
