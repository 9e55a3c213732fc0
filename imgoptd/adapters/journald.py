"""What the daemon says to its operator: entries in the journal, or lines on standard error.

`journalctl MESSAGE_ID=...` finds every entry of a kind, `journalctl -x` explains it from `systemd/imgoptd.catalog`.
Nothing here raises or waits for long: a full disk behind journald must not stop the work.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from imgoptd.adapters.journal_socket import SOCKET_PATH, JournalSocket
from imgoptd.adapters.stderr import Stderr
from imgoptd.core.commands import Announce
from imgoptd.core.text import one_line

IDENTIFIER = "imgoptd"

MESSAGE_IDS: dict[str, str] = {
    "start": "9ed89564b76b4c8a8ab2860b8d827047",
    "stop": "175babc30acd467d9c43ed803d127ca0",
    "drain": "49e81be25fdc4800b3dca37f8a781410",
    "recovery": "c644b92956d44ade9501417d4b895ec1",
    "scale": "6672204329ab467ea7193180b65e7a26",
    "pressure": "5ba1c9f40d2e4a7e8c36b0f2d917a845",
    "worker": "7b3e492521a24044a5bc52519741791d",
    "file": "ad501cf80ed3476991a8d77e8c42d941",
    "skipped": "efdd89de905d455e8a4b4ad3a46a7ae7",
    "deferred": "4b150ff600f24772aaca69cb848fb99e",
    "held": "839db6a802cd436cbadea89ce44c4689",
    "quarantine": "27f0da886dad419099cceffaf008f83c",
    "reload": "6139e0b6203e42e49a8901ba95562ff4",
    "reload-failed": "f366eee0c0bb4cf1a01d6415640e362a",
    "desync": "62ea64847b9b46639bfa7645623b6522",
    "folder-lost": "1913497a8c9c42d181f058ea4089a097",
    "folder-found": "4e52221754f940e3b220a96c01cf073e",
    "disk-ill": "574760597afd4890b337a5e9043169c8",
    "disk-well": "11177049d8224b3d811d769e8084cfe7",
    "store-damaged": "1192df952a6c4f1c9297a56ed3015466",
    "settling": "4f00b7357a484a7484bd954af95272b6",
    "warning": "aa0020b9f99f419dbeb099e61236cd51",
    "error": "cb855cd03d824be2a6a9da7c306cf28a",
}
"""Kind of event -> its fixed MESSAGE_ID. Operators' scripts hang on these: an id is never changed or used again."""

CATALOG_FIELDS: dict[str, tuple[str, ...]] = {
    "drain": ("JOBS",),
    "recovery": ("JOBS", "INTENTS"),
    "scale": (
        "FROM",
        "TO",
        "REASON",
        "BACKLOG_JOBS",
        "BACKLOG_CPU_S",
        "CPUS",
        "OTHERS_CPUS",
        "AVAILABLE_BYTES",
        "RESERVED_BYTES",
        "RESERVE_BYTES",
        "LIMIT_BYTES",
        "BUDGET_BYTES",
        "PSI_SOME_AVG10",
        "PSI_SOME_RATE",
        "STATE",
        "COOLDOWN_S",
    ),
    "pressure": ("FROM_STATE", "TO_STATE", "CAUSE", "AVAILABLE_BYTES", "LIMIT_BYTES", "PSI_SOME_RATE"),
    "worker": ("WORKER", "STATUS", "REASON"),
    "file": ("PATH", "BYTES_BEFORE", "BYTES_AFTER"),
    "skipped": ("PATH", "REASON", "DETAIL"),
    "deferred": ("PATH", "REASON", "DETAIL"),
    "settling": ("PATH",),
    "held": ("PATH", "REASON", "DETAIL"),
    "quarantine": ("PATH", "REASON", "DETAIL"),
    "reload": ("GENERATION",),
    "reload-failed": ("GENERATION",),
    "desync": ("ROOT", "REASON"),
    "folder-lost": ("ROOT",),
    "folder-found": ("ROOT",),
    "disk-ill": ("ROOT", "FOLDER", "REASON", "DETAIL"),
    "disk-well": ("ROOT", "FOLDER"),
    "store-damaged": ("STATE_DIR",),
}
"""Fields (without the `IMGOPTD_` prefix) that an event of the kind always carries: the catalog's text shows them."""

_SEVERITY = {0: "emergency: ", 1: "alert: ", 2: "critical: ", 3: "error: ", 4: "warning: "}

_UNFIT_FOR_A_NAME = re.compile(r"[^A-Z0-9_]")
_PLAIN_VALUE = re.compile(r"[!#-\[\]-~]+")  # printable ASCII but space, quote and backslash


class Log:
    """Says each `Announce` where `mode` sends it.

    - `journal`: to journald; whatever it does not take goes to standard error with the same fields.
    - `text`: lines for a person on standard error: time and message, and the fields of warnings and scaling events.
    - `json`: one JSON object a line on standard error, keys as journald's fields.
    - `auto`: `journal` when systemd started us (INVOCATION_ID or JOURNAL_STREAM is set) and journald is there; else
      lines on standard error with all fields, or without them when that is a terminal.
    """

    def __init__(
        self,
        mode: str = "auto",
        *,
        environ: Mapping[str, str] = os.environ,
        socket_path: str = SOCKET_PATH,
        stderr_fd: int | None = None,
    ) -> None:
        self._mode = mode
        wants_journal = mode == "journal" or (mode == "auto" and _started_by_systemd(environ))
        self._journal = JournalSocket(socket_path) if wants_journal else None
        self._stderr = Stderr(_inherited_stderr() if stderr_fd is None else stderr_fd)
        self._terminal = self._stderr.is_terminal()
        self._stream_to_journald = self._stderr.is_stream(environ.get("JOURNAL_STREAM", ""))

    def say(self, event: str, message: str, priority: int = 6, **fields: object) -> None:
        """Shorthand for `emit`: `log.say("start", "watching 2 folders", FOLDERS=2)`."""
        named = tuple((name, str(value)) for name, value in fields.items())
        self.emit(Announce(event, message, priority, named))

    def emit(self, announce: Announce) -> None:
        """Say it. An event that is no key of MESSAGE_IDS is said without an id."""
        fields = entry(announce)
        if self._journal is not None and self._journal.send((name, to_bytes(value)) for name, value in fields):
            return
        if self._mode == "json":
            self._stderr.write_line(_json_line(fields))
        else:
            self._stderr.write_line(self._text_line(announce, fields))

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _text_line(self, announce: Announce, fields: list[tuple[str, str]]) -> bytes:
        message = one_line(announce.message)
        if self._stream_to_journald:  # journald stamps the time itself and reads the priority from the prefix
            start = f"<{announce.priority}>{message}"
        else:
            start = f"{time.strftime('%H:%M:%S')} {_SEVERITY.get(announce.priority, '')}{message}"
        if not self._shows_fields(announce):
            return to_bytes(start)
        shown = (f"{name}={_quoted(value)}" for name, value in fields if name.startswith(("IMGOPTD_", "MESSAGE_ID")))
        return to_bytes(f"{start} {' '.join(shown)}")

    def _shows_fields(self, announce: Announce) -> bool:
        if announce.priority <= 4:
            return True
        return not self._terminal and (self._mode != "text" or announce.event == "scale")


def entry(announce: Announce) -> list[tuple[str, str]]:
    """The journal entry of an announcement: (field, value) in order. Non-UTF-8 bytes are carried as surrogates."""
    fields = [
        ("MESSAGE", one_line(announce.message)),
        ("PRIORITY", str(announce.priority)),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
    ]
    if announce.event in MESSAGE_IDS:
        fields.append(("MESSAGE_ID", MESSAGE_IDS[announce.event]))
    fields.append(("IMGOPTD_EVENT", announce.event))
    # journald drops fields with other characters or more than 64 of them in the name, silently
    fields += [("IMGOPTD_" + _UNFIT_FOR_A_NAME.sub("_", name.upper())[:56], value) for name, value in announce.fields]
    return fields


def to_bytes(text: str) -> bytes:
    """UTF-8, with the bytes that surrogateescape carried put back; never raises."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "backslashreplace")


def _quoted(value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    return '"' + one_line(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _json_line(fields: list[tuple[str, str]]) -> bytes:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"TIMESTAMP": stamp, **dict(fields)}).encode()


def _started_by_systemd(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("INVOCATION_ID") or environ.get("JOURNAL_STREAM"))


def _inherited_stderr() -> int:
    # Python leaves sys.stderr unset when descriptor 2 was closed at start: by now 2 may be any file of ours.
    return -1 if sys.__stderr__ is None else 2
