"""What a client of the control interface is told when its request cannot be answered."""

from __future__ import annotations


class ControlError(Exception):
    """A request that cannot be answered; the client is told why and what to do."""

    status = 400
    reason = "bad-request"

    def __init__(self, message: str, mend: str = "", path: bytes | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.path = path


class NotWatched(ControlError):
    """The path lies in no watched folder, or is not taken from it."""

    status = 404
    reason = "not-watched"

    def __init__(self, path: bytes) -> None:
        super().__init__("the path lies in no watched folder", "watch its folder ([[watch]] in the config)", path)


class NotSeen(ControlError):
    """The path lies in a watched folder, but nothing is known of such a file."""

    status = 404
    reason = "not-seen"

    def __init__(self, path: bytes) -> None:
        super().__init__(
            "imgoptd has not seen this file",
            'check the name; what stood there when its folder was first watched is left alone (existing = "ignore")',
            path,
        )


class Stopping(ControlError):
    """The daemon ends before the answer is known."""

    status = 503
    reason = "stopping"

    def __init__(self) -> None:
        super().__init__("imgoptd is stopping", "ask again when it has started; nothing that was queued is lost")
