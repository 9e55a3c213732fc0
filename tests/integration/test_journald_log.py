"""The log against a real journald, and against none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imgoptd.adapters.journald import CATALOG_FIELDS, IDENTIFIER, MESSAGE_IDS, Log
from imgoptd.adapters.stderr import Stderr
from imgoptd.core.commands import Announce
from tests.integration.journald_fixture import PrivateJournal

CATALOG = Path(__file__).parents[2] / "systemd" / "imgoptd.catalog"
NO_JOURNALD = "/nonexistent/journal/socket"
UNDER_SYSTEMD = {"INVOCATION_ID": "4f1d8a5e2b0c4c8fb5b0f6d5d0a1c001"}

SCALE = Announce(
    "scale",
    "workers 1 -> 2: backlog",
    5,
    (("FROM", "1"), ("TO", "2"), ("REASON", "backlog"), ("BACKLOG_CPU_S", "31.000"), ("PSI_SOME_AVG10", "unknown")),
)


class Pipe:
    """A pipe to log into: what was written so far, without waiting for more."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def text(self) -> str:
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def lose_reader(self) -> None:
        os.close(self.reader)
        self.reader = -1

    def close(self) -> None:
        os.close(self.writer)
        if self.reader >= 0:
            os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_a_scaling_event_arrives_in_the_journal_with_every_field(journal: PrivateJournal, pipe: Pipe) -> None:
    tag = uuid.uuid4().hex
    log = Log("journal", socket_path=journal.socket_path, stderr_fd=pipe.writer)
    log.emit(Announce(SCALE.event, SCALE.message, SCALE.priority, (*SCALE.fields, ("TAG", tag))))
    log.close()

    (found,) = journal.entries(f"MESSAGE_ID={MESSAGE_IDS['scale']}", f"IMGOPTD_TAG={tag}")

    assert {name: value for name, value in found.items() if not name.startswith("_")} == {
        "MESSAGE": "workers 1 -> 2: backlog",
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "MESSAGE_ID": MESSAGE_IDS["scale"],
        "IMGOPTD_EVENT": "scale",
        "IMGOPTD_FROM": "1",
        "IMGOPTD_TO": "2",
        "IMGOPTD_REASON": "backlog",
        "IMGOPTD_BACKLOG_CPU_S": "31.000",
        "IMGOPTD_PSI_SOME_AVG10": "unknown",
        "IMGOPTD_TAG": tag,
    }
    assert found["_TRANSPORT"] == "journal"
    assert found["_PID"] == str(os.getpid())
    assert pipe.text() == ""


def test_a_name_that_is_no_utf8_and_holds_a_newline_arrives_byte_for_byte(journal: PrivateJournal) -> None:
    tag = uuid.uuid4().hex
    path = b"/srv/a\xff\nPRIORITY=0\n.jpg"
    log = Log("journal", socket_path=journal.socket_path)
    log.say("file", f"done {os.fsdecode(path)}", PATH=os.fsdecode(path), TAG=tag)
    log.close()

    (found,) = journal.entries(f"IMGOPTD_TAG={tag}")

    assert bytes(found["IMGOPTD_PATH"]) == path
    assert found["PRIORITY"] == "6"
    assert found["MESSAGE"] == r"done /srv/a\xff\nPRIORITY=0\n.jpg"


def test_a_field_name_that_journald_would_drop_is_made_fit(journal: PrivateJournal) -> None:
    tag = uuid.uuid4().hex
    log = Log("journal", socket_path=journal.socket_path)
    log.emit(Announce("warning", "odd", 4, (("lower-case", "1"), ("L" * 90, "2"), ("TAG", tag))))
    log.close()

    (found,) = journal.entries(f"IMGOPTD_TAG={tag}")

    assert found["IMGOPTD_LOWER_CASE"] == "1"
    assert found["IMGOPTD_" + "L" * 56] == "2"


def test_a_burst_of_a_thousand_entries_reaches_the_journal_whole(journal: PrivateJournal, pipe: Pipe) -> None:
    tag = uuid.uuid4().hex
    log = Log("journal", socket_path=journal.socket_path, stderr_fd=pipe.writer)
    for number in range(1000):
        log.say("file", f"done {number}", TAG=tag, NUMBER=number)
    log.close()

    assert pipe.text() == ""
    assert [int(found["IMGOPTD_NUMBER"]) for found in journal.entries(f"IMGOPTD_TAG={tag}")] == list(range(1000))


def test_a_journald_that_stops_reading_costs_the_daemon_no_standstill(own_journal: PrivateJournal) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = Log("journal", socket_path=own_journal.socket_path, stderr_fd=writer)
    own_journal.sleep()
    # Far more than any queue holds. A sender that waits would never come back: the test's timeout is the assertion.
    for number in range(3000):
        log.say("file", f"done {number}", NUMBER=number)
    own_journal.wake()
    deadline = time.monotonic() + 10
    while not own_journal.entries("IMGOPTD_NUMBER=9999") and time.monotonic() < deadline:
        log.say("file", "awake again", NUMBER=9999)
    log.close()
    os.close(writer)

    assert own_journal.entries("IMGOPTD_NUMBER=9999")
    assert own_journal.entries("IMGOPTD_NUMBER=0")


def test_entries_go_to_standard_error_while_the_socket_is_away_and_back_to_the_journal(
    own_journal: PrivateJournal, pipe: Pipe
) -> None:
    log = Log("journal", socket_path=own_journal.socket_path, stderr_fd=pipe.writer)
    log.say("start", "first", TAG="before")
    assert own_journal.entries("IMGOPTD_TAG=before")
    own_journal.remove_socket()
    log.emit(SCALE)
    log.close()

    line = pipe.text()

    assert line.endswith(
        f"workers 1 -> 2: backlog MESSAGE_ID={MESSAGE_IDS['scale']} IMGOPTD_EVENT=scale IMGOPTD_FROM=1 IMGOPTD_TO=2 "
        "IMGOPTD_REASON=backlog IMGOPTD_BACKLOG_CPU_S=31.000 IMGOPTD_PSI_SOME_AVG10=unknown\n"
    )


def test_auto_means_the_journal_only_for_a_service(journal: PrivateJournal, pipe: Pipe) -> None:
    tag = uuid.uuid4().hex
    for environ in ({}, UNDER_SYSTEMD):
        log = Log("auto", environ=environ, socket_path=journal.socket_path, stderr_fd=pipe.writer)
        log.say("start", "started", TAG=tag, SERVICE=bool(environ))
        log.close()

    assert [found["IMGOPTD_SERVICE"] for found in journal.entries(f"IMGOPTD_TAG={tag}")] == ["True"]
    assert pipe.text().count("IMGOPTD_SERVICE=False") == 1


def test_text_is_made_for_a_person_and_escapes_what_a_terminal_would_obey(pipe: Pipe) -> None:
    log = Log("text", socket_path=NO_JOURNALD, stderr_fd=pipe.writer)
    log.say("file", "done a\x1b[31m\nb.jpg: 2 MiB -> 1 MiB", PATH="/a\x1b")
    log.say("deferred", "later", 4, PATH='/srv/a "b"\n.jpg')

    first, second = pipe.text().splitlines()

    assert first[8:] == r" done a\x1b[31m\nb.jpg: 2 MiB -> 1 MiB"
    assert second[8:] == (
        f" warning: later MESSAGE_ID={MESSAGE_IDS['deferred']} IMGOPTD_EVENT=deferred "
        r'IMGOPTD_PATH="/srv/a \"b\"\n.jpg"'
    )


def test_a_terminal_gets_the_sentence_of_a_scaling_event_without_its_fields() -> None:
    master, slave = os.openpty()
    log = Log("text", socket_path=NO_JOURNALD, stderr_fd=slave)
    log.emit(SCALE)
    shown = os.read(master, 1000)
    os.close(slave)
    os.close(master)

    assert shown[8:] == b" workers 1 -> 2: backlog\r\n"


def test_json_lines_have_the_names_of_the_journal(pipe: Pipe) -> None:
    log = Log("json", socket_path=NO_JOURNALD, stderr_fd=pipe.writer)
    log.emit(SCALE)
    log.say("file", "done", PATH=os.fsdecode(b"/\xff"))

    scale, done = (json.loads(line) for line in pipe.text().splitlines())

    assert (scale["MESSAGE_ID"], scale["PRIORITY"], scale["IMGOPTD_TO"]) == (MESSAGE_IDS["scale"], "5", "2")
    assert os.fsencode(done["IMGOPTD_PATH"]) == b"/\xff"


def test_a_stream_that_journald_reads_gets_priorities_instead_of_times(pipe: Pipe) -> None:
    status = os.fstat(pipe.writer)
    stream = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    log = Log("auto", environ=stream, socket_path=NO_JOURNALD, stderr_fd=pipe.writer)
    log.say("error", "it broke", 3)
    log.close()

    assert pipe.text().startswith("<3>it broke MESSAGE_ID=")


def test_a_reader_of_standard_error_that_left_ends_nothing(pipe: Pipe) -> None:
    log = Log("text", socket_path=NO_JOURNALD, stderr_fd=pipe.writer)
    pipe.lose_reader()
    for _ in range(3):
        log.say("file", "nobody hears this")

    with pytest.raises(BrokenPipeError):
        os.write(pipe.writer, b"the pipe is broken indeed")


def test_a_reader_that_sleeps_loses_lines_and_is_told_how_many(pipe: Pipe) -> None:
    log = Log("text", socket_path=NO_JOURNALD, stderr_fd=pipe.writer)
    for number in range(400):  # 400 kB into a pipe of 64 KiB
        log.say("file", f"{number} " + "x" * 1000)
    kept = pipe.text().splitlines()
    log.say("file", "after")
    told = pipe.text()

    lost = 400 - sum("x" * 1000 in line for line in kept)
    assert lost > 0
    assert f"({lost} lines could not be written here)\n" in told
    assert told.endswith(" after\n")


def test_a_process_without_standard_error_writes_into_no_file_that_took_its_number(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    program = (
        "import os; from imgoptd.adapters.journald import Log; "
        f"fd = os.open({str(victim)!r}, os.O_CREAT | os.O_WRONLY); assert fd <= 2, fd; os.dup2(fd, 2); "
        f"Log('text', socket_path={NO_JOURNALD!r}).say('start', 'hello')"
    )
    subprocess.run(["sh", "-c", f'exec {sys.executable} -c "$0" 2>&-', program], check=True, timeout=20)

    assert victim.read_bytes() == b""


def test_an_event_without_an_id_is_said_all_the_same(pipe: Pipe) -> None:
    log = Log("json", socket_path=NO_JOURNALD, stderr_fd=pipe.writer)
    log.say("unheard-of", "something")

    assert "MESSAGE_ID" not in json.loads(pipe.text())


def catalog_entries() -> dict[str, str]:
    """MESSAGE_ID -> the entry's text, read from the file alone."""
    parts = ("\n" + CATALOG.read_text()).split("\n-- ")[1:]
    return {part.partition("\n")[0].strip(): part.partition("\n")[2] for part in parts}


def test_every_message_id_is_explained_in_the_catalog_and_no_other() -> None:
    assert set(catalog_entries()) == set(MESSAGE_IDS.values())
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)


@pytest.mark.parametrize("event", MESSAGE_IDS)
def test_a_catalog_entry_shows_only_fields_that_its_event_carries(event: str) -> None:
    words = catalog_entries()[MESSAGE_IDS[event]].split("@")[1::2]

    assert {word.removeprefix("IMGOPTD_") for word in words} == set(CATALOG_FIELDS.get(event, ()))


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="no journalctl on this machine")
def test_systemd_compiles_the_catalog(tmp_path: Path) -> None:
    source = tmp_path / "usr/lib/systemd/catalog"
    source.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (source / "imgoptd.catalog").write_bytes(CATALOG.read_bytes())
    base = ["journalctl", f"--root={tmp_path}"]

    made = subprocess.run([*base, "--update-catalog"], capture_output=True, text=True, timeout=20)
    listed = subprocess.run([*base, "--list-catalog"], capture_output=True, text=True, timeout=20, check=True)

    assert (made.returncode, made.stderr) == (0, "")
    assert {line.split()[0] for line in listed.stdout.splitlines()} == set(MESSAGE_IDS.values())


def test_lines_from_several_threads_are_written_whole_and_none_is_a_fault() -> None:
    reading, writing = os.pipe()
    stderr = Stderr(writing)
    lines = [b"%d " % number + b"x" * 200 for number in range(8)]
    read: list[bytes] = []

    def drain() -> None:
        with open(reading, "rb") as end:
            read.extend(end.read().splitlines())

    reader = threading.Thread(target=drain)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(stderr.write_line, lines * 300))
    os.close(writing)
    reader.join()
    assert Counter(read) == dict.fromkeys(lines, 300)
