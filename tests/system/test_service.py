"""The service under a real systemd: start, reload, stop, watchdog, journal, rights."""

from __future__ import annotations

import os
from io import BytesIO

import pytest
from PIL import Image

from tests import images
from tests.system.conftest import CONFIG, DROP_INS, MORE, PHOTOS, Service, until
from tests.system.machine import CHECKOUT, ENVIRONMENT


@pytest.fixture
def started(service: Service) -> Service:
    service.systemctl("start")
    return service


def workers(service: Service) -> list[dict[str, str]]:
    """What /proc says of each worker."""
    return [service.process(worker["pid"]) for worker in service.control("workers")]


def test_the_installed_unit_is_what_systemd_understands(service: Service) -> None:
    said = service.machine.run("systemd-analyze", "verify", "/usr/local/lib/systemd/system/imgoptd.service")

    assert said == ""


def test_the_unit_stays_as_closed_as_it_is(service: Service) -> None:
    service.machine.run("systemd-analyze", "security", "--threshold=15", "imgoptd.service")


def test_start_returns_when_the_daemon_watches(started: Service) -> None:
    assert started.show("ActiveState") == "active"
    assert started.show("StatusText") != ""
    assert started.control("status")["state"] == "running"


def test_it_runs_as_its_own_user_with_rights_over_files_alone(started: Service) -> None:
    facts = started.process(started.show("MainPID"))

    assert facts["Uid"].split()[0] == started.machine.run("id", "-u", "imgoptd").strip()
    assert facts["NoNewPrivs"] == "1"
    assert facts["CapEff"] == facts["CapBnd"] == "000000001000001b"  # chown, dac_override, fowner, fsetid; lease


def test_a_dropped_image_comes_out_smaller_with_the_same_owner_mode_and_time(started: Service) -> None:
    data = images.jpeg(images.photo())
    path = started.put(f"{PHOTOS}/a.jpg", data)
    before = path.stat()

    started.wait_for_file(f"{PHOTOS}/a.jpg")

    after = path.stat()
    assert after.st_size < before.st_size
    assert (after.st_uid, after.st_gid, after.st_mode) == (1000, 1000, before.st_mode)
    assert after.st_mtime_ns == before.st_mtime_ns
    with Image.open(BytesIO(data)) as old, Image.open(BytesIO(path.read_bytes())) as new:
        assert old.tobytes() == new.tobytes()


def test_a_worker_has_no_rights_at_all(started: Service) -> None:
    started.configure(PHOTOS, extra="[workers]\nmin = 1")
    started.systemctl("restart")
    started.put(f"{PHOTOS}/a.jpg", images.jpeg(images.photo()))
    started.wait_for_file(f"{PHOTOS}/a.jpg")

    assert workers(started)
    for facts in workers(started):
        assert {facts[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}


def test_a_set_group_id_image_keeps_its_bit(started: Service) -> None:
    path = started.put(f"{PHOTOS}/odd.jpg", images.jpeg(images.photo()), mode=0o2755)
    started.wait_for_file(f"{PHOTOS}/odd.jpg")

    assert path.stat().st_mode & 0o7777 == 0o2755
    assert [p.name for p in path.parent.iterdir()] == ["odd.jpg"]


def test_originals_are_kept_and_brought_back_and_an_output_tree_is_filled_within_the_unit(started: Service) -> None:
    small = f"{MORE}/small"
    mirrored = f'[[watch]]\npath = "{MORE}"\nsettle = "100ms"\nmode = "output"\noutput = "{small}"'
    started.configure(PHOTOS, extra=f"[undo]\nlossless = true\n{mirrored}")
    started.systemctl("restart")
    data = images.jpeg(images.photo())
    inside = {"x/a.jpg": data, "x/b.gif": b"GIF89a" + bytes(100)}  # a result, and a copy
    started.machine.run("install", "-d", "-m", "2750", "-o", "1000", "-g", "1000", f"{MORE}/x")
    kept, *originals = [
        started.put(f"{PHOTOS}/a.jpg", data),
        *(started.put(f"{MORE}/{name}", made) for name, made in inside.items()),
    ]
    before = [(path.read_bytes(), path.stat()) for path in (kept, *originals)]
    for name in (f"{PHOTOS}/a.jpg", *(f"{MORE}/{name}" for name in inside)):
        started.wait_for_file(name)

    assert kept.stat().st_size < len(data)
    assert started.path(f"{PHOTOS}/.imgoptd/undo").is_dir()  # a rename across folders, no copy
    assert [(path.read_bytes(), path.stat()) for path in originals] == before[1:]
    assert [fields(started.path(f"{small}/{name}").stat()) for name in inside] == [
        fields(seen) for _, seen in before[1:]
    ]
    assert started.path(f"{small}/x/a.jpg").stat().st_size < len(data)
    assert started.path(f"{small}/x/b.gif").read_bytes() == inside["x/b.gif"]
    assert started.path(f"{small}/x").stat().st_mode & 0o7777 == 0o2750

    started.control("restore", f"{PHOTOS}/a.jpg")
    assert (kept.read_bytes(), fields(kept.stat())) == (data, fields(before[0][1]))
    assert kept.stat().st_ino == before[0][1].st_ino
    assert not [one for one in started.entries() if int(one["PRIORITY"]) <= 4]


def fields(status: os.stat_result) -> tuple[int, int, int, int]:
    """Owner, group, mode and time."""
    return status.st_uid, status.st_gid, status.st_mode, status.st_mtime_ns


def test_reload_puts_a_new_folder_in_force(started: Service) -> None:
    started.configure(PHOTOS, MORE)
    started.systemctl("reload")
    until(lambda: bool(started.entries("IMGOPTD_EVENT=reload")), "the reload is in the journal")

    path = started.put(f"{MORE}/a.png", images.png(images.drawing()))
    size = path.stat().st_size
    started.wait_for_file(f"{MORE}/a.png")

    assert path.stat().st_size < size
    assert started.control("status")["generation"] == 2


def test_reload_of_a_broken_configuration_keeps_the_old_one_and_says_why(started: Service) -> None:
    started.configure(PHOTOS, extra="[workers]\nmaximum = 3")
    started.systemctl("reload")
    until(lambda: bool(started.entries("IMGOPTD_EVENT=reload-failed")), "the failed reload is in the journal")

    message = started.entries("IMGOPTD_EVENT=reload-failed")[-1]["MESSAGE"]
    assert CONFIG in message
    assert "maximum" in message
    started.put(f"{PHOTOS}/a.jpg", images.jpeg(images.photo()))
    started.wait_for_file(f"{PHOTOS}/a.jpg")
    assert started.control("status")["generation"] == 1


def test_stop_drains_and_ends_with_success(started: Service) -> None:
    for number in range(6):
        started.put(f"{PHOTOS}/{number}.jpg", images.jpeg(images.photo(seed=number)))
    started.systemctl("stop")

    assert started.show("ActiveState") == "inactive"
    assert started.show("Result") == "success"
    assert started.show("ExecMainStatus") == "0"
    leftover = {path.name for path in started.path(PHOTOS).iterdir()} - {f"{number}.jpg" for number in range(6)}
    assert leftover == set()


def test_what_stop_left_undone_is_done_after_the_next_start(started: Service) -> None:
    names = [f"{PHOTOS}/{number}.jpg" for number in range(6)]
    sizes = {name: started.put(name, images.jpeg(images.photo())).stat().st_size for name in names}
    started.systemctl("stop")
    started.systemctl("start")
    for name in names:
        started.wait_for_file(name)

    assert all(started.path(name).stat().st_size < size for name, size in sizes.items())


def test_the_journal_shows_scaling_with_its_inputs_and_explains_it(started: Service) -> None:
    started.put(f"{PHOTOS}/a.jpg", images.jpeg(images.photo()))
    started.wait_for_file(f"{PHOTOS}/a.jpg")

    first = started.entries("IMGOPTD_EVENT=scale")[0]
    assert first["SYSLOG_IDENTIFIER"] == "imgoptd"
    assert (first["IMGOPTD_FROM"], first["IMGOPTD_REASON"]) == ("0", "backlog")
    assert int(first["IMGOPTD_TO"]) >= 1
    assert int(first["IMGOPTD_BACKLOG_JOBS"]) >= 1
    assert int(first["IMGOPTD_AVAILABLE_BYTES"]) > 0
    explained = started.machine.run("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={first['MESSAGE_ID']}")
    assert "Subject: " in explained
    assert "imgoptd[" in started.log()


def test_the_watchdog_is_kept_happy(service: Service) -> None:
    service.drop_in(WatchdogSec="1s")
    service.systemctl("start")
    first = service.show("WatchdogTimestampMonotonic")
    until(lambda: service.show("WatchdogTimestampMonotonic") != first, "a watchdog ping")
    service.machine.run("sleep", "2.5")  # longer than two watchdog periods: without pings it would be ended

    assert service.show("NRestarts") == "0"
    assert service.show("ActiveState") == "active"


def test_a_daemon_that_hangs_is_replaced(service: Service) -> None:
    service.drop_in(WatchdogSec="1s", RestartSec="100ms", TimeoutAbortSec="1s")
    service.systemctl("start")
    service.systemctl("kill", "--kill-who=main", "--signal=STOP")
    until(lambda: service.show("NRestarts") == "1" and service.show("ActiveState") == "active", "a restart")

    assert service.control("status")["state"] == "running"


def test_a_killed_daemon_comes_back_and_finishes(service: Service) -> None:
    service.drop_in(RestartSec="100ms")
    service.systemctl("start")
    path = service.put(f"{PHOTOS}/a.png", images.png(images.photo(800, 600)))
    size = path.stat().st_size
    service.systemctl("kill", "--kill-who=main", "--signal=KILL")
    until(lambda: service.show("NRestarts") == "1" and service.show("ActiveState") == "active", "a restart")
    service.wait_for_file(f"{PHOTOS}/a.png")

    assert path.stat().st_size < size
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_a_broken_configuration_is_one_line_and_no_restart_loop(service: Service) -> None:
    service.configure(PHOTOS, extra="[daemon]\nstop_timeout = 'soon'")
    result = service.machine.attempt("systemctl", "start", "imgoptd.service")

    assert result.returncode != 0
    assert service.show("ExecMainStatus") == "2"
    assert service.show("NRestarts") == "0"
    assert service.show("ActiveState") == "failed"
    assert "stop_timeout" in service.log()
    assert "Traceback" not in service.log()


def test_with_the_drop_in_it_runs_as_root_and_its_workers_do_not(service: Service) -> None:
    drop_in = (CHECKOUT / "systemd/as-root.conf").read_text()
    service.path(f"{DROP_INS}/as-root.conf").write_text(drop_in)
    service.systemctl("daemon-reload")
    service.systemctl("start")
    path = service.put(f"{PHOTOS}/a.jpg", images.jpeg(images.photo()))
    size = path.stat().st_size
    service.wait_for_file(f"{PHOTOS}/a.jpg")

    assert path.stat().st_size < size
    assert path.stat().st_uid == 1000
    assert service.process(service.show("MainPID"))["Uid"].split()[0] == "0"
    assert workers(service)
    assert {facts["Uid"].split()[0] for facts in workers(service)}.isdisjoint({"0"})


def test_installing_again_changes_no_configuration(started: Service) -> None:
    before = started.path(CONFIG).read_bytes()
    started.machine.run("sh", f"{CHECKOUT}/dev", "install", "--venv", str(ENVIRONMENT))

    assert started.path(CONFIG).read_bytes() == before
    assert started.show("ActiveState") == "active"
