"""One watched folder, as the daemon holds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from imgoptd.adapters.beneath import Folder
from imgoptd.config.rules import PathRules
from imgoptd.config.schema import Watch
from imgoptd.core.since import Since


@dataclass(slots=True)
class Watched:
    watch: Watch
    rules: PathRules
    folder: Folder | None = None
    """Let go of, never closed: a thread may still be using it, and its descriptor's number would soon be another's."""
    trouble: str = ""
    """Why it is not watched now; empty: all is well."""
    tree_lost: bool = False
    """Its output tree is out of reach, and the engine was told."""
    polled: str = ""
    """Why it is polled, as it was said last; empty: it is not."""
    baseline: Since | None = None
    """While its first scan is under way."""
    scan: asyncio.Task[None] | None = None
    """The last scan of the whole folder."""
    scanned: Folder | None = None
    """What that scan walks."""
    again: bool = False
    """Changes may have been missed since that scan began: another pass follows."""
    rescan: str = ""
    """Why the scan that is under way was begun; empty: none is, or for no particular reason."""
    next_scan_s: float | None = None
    """When it is scanned for no particular reason (monotonic); None: not before a scan has ended."""
    unread: dict[bytes, Since | None] = field(default_factory=dict)
    """Folders in it that could not be read, with the `baseline` that held then."""
    unlisted: bool = False
    """It could not be listed itself when it was last tried, and that was said."""
    said_s: float | None = None
    """When it was last said that events were lost."""
    unsaid: int = 0
    """How often that happened since."""
