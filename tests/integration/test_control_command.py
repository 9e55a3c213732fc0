"""imgoptctl as its users run it, against a control socket that really listens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.control_server import STATUS, Known, Server


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The watched folder; it is not `/srv/photos`, so that the command may stand in it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, photos: Path) -> Iterator[Server]:
    with Server(tmp_path / "control.sock", Known(os.fsencode(photos))) as started:
        yield started


def imgoptctl(
    socket_path: Path | None,
    *arguments: str | bytes,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for its end."""
    command = [sys.executable, "-m", "imgoptd.cli.imgoptctl"]
    if socket_path is not None:
        command.append(f"--socket={socket_path}")
    environment = {**os.environ, **({"PWD": str(cwd)} if cwd else {}), **(environ or {})}
    return subprocess.run([*command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=30)


def test_status_as_json_is_what_the_daemon_said(server: Server) -> None:
    done = imgoptctl(server.path, "status", "--json")

    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, STATUS, "")


def test_status_for_people_is_one_screen(server: Server) -> None:
    lines = imgoptctl(server.path, "status").stdout.splitlines()

    assert lines[0] == "imgoptd   running for 12 s, configuration 1"
    assert len(lines) < 24 and max(map(len, lines)) <= 80


def test_json_and_socket_stand_before_or_after_the_command_or_in_the_environment(server: Server) -> None:
    path = str(server.path)
    runs = [
        imgoptctl(None, "--json", "--socket", path, "status"),
        imgoptctl(None, "status", "--json", "--socket", path),
        imgoptctl(None, "--json", "status", environ={"IMGOPTD_CONTROL": path}),
    ]

    assert [json.loads(run.stdout) for run in runs] == [STATUS] * 3


def test_workers_show_the_path_of_their_job_printably(server: Server, photos: Path) -> None:
    assert f"{photos}/a\\xff.jpg" in imgoptctl(server.path, "workers").stdout
    (worker,) = json.loads(imgoptctl(server.path, "workers", "--json").stdout)
    assert os.fsencode(worker["job"]) == os.fsencode(photos) + b"/a\xff.jpg"


def test_why_takes_a_path_of_any_bytes(server: Server, photos: Path) -> None:
    path = os.fsencode(photos) + b"/a\xff\n&%2F.jpg"
    done = imgoptctl(server.path, "why", path)
    as_json = imgoptctl(server.path, "why", path, "--json")

    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [f"{photos}/a\\xff\\n&%2F.jpg", "  skipped (empty): it holds nothing"]
    assert "queued       jpeg, 640 x 480" in done.stdout
    assert os.fsencode(json.loads(as_json.stdout)["path"]) == path


def test_a_relative_path_is_taken_from_where_the_user_stands(server: Server, photos: Path) -> None:
    (photos / "sub").mkdir()
    shown = [
        json.loads(imgoptctl(server.path, "why", "--json", path, cwd=photos / "sub").stdout)["path"]
        for path in ("a.jpg", "../a.jpg", "./b//c.jpg")
    ]

    assert shown == [f"{photos}/sub/a.jpg", f"{photos}/a.jpg", f"{photos}/sub/b/c.jpg"]


def test_a_folder_reached_through_a_link_is_found_as_the_daemon_knows_it(server: Server, photos: Path) -> None:
    link = photos.parent / "link"
    link.symlink_to(photos)
    absolute = imgoptctl(server.path, "why", "--json", str(link / "a.jpg"))
    standing_in_it = imgoptctl(server.path, "why", "--json", "a.jpg", cwd=link)

    assert json.loads(absolute.stdout)["path"] == json.loads(standing_in_it.stdout)["path"] == f"{photos}/a.jpg"


def test_a_watched_folder_that_is_itself_a_link_is_known_by_the_name_the_shell_shows(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    with Server(tmp_path / "c.sock", Known(os.fsencode(link))) as server:
        done = imgoptctl(server.path, "why", "--json", "a.jpg", cwd=link)

    assert json.loads(done.stdout)["path"] == f"{link}/a.jpg"


def test_a_link_in_a_watched_folder_is_asked_about_itself_not_its_target(server: Server, photos: Path) -> None:
    (photos / "link.jpg").symlink_to("/etc/passwd")

    done = imgoptctl(server.path, "why", "--json", "link.jpg", cwd=photos)

    assert json.loads(done.stdout)["path"] == f"{photos}/link.jpg"


def test_dots_behind_a_link_mean_what_the_kernel_means(server: Server, photos: Path) -> None:
    elsewhere = photos.parent / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (photos / "link").symlink_to(elsewhere)

    done = imgoptctl(server.path, "why", "link/../a.jpg", cwd=photos)

    assert done.returncode == 2
    assert f"{elsewhere.parent}/a.jpg: the path lies in no watched folder" in done.stderr


def test_a_file_outside_or_never_seen_is_refused_in_one_line_with_the_mend(server: Server, photos: Path) -> None:
    outside = imgoptctl(server.path, "why", "/etc/passwd")
    unseen = imgoptctl(server.path, "why", str(photos / "unseen"))

    assert (outside.returncode, unseen.returncode) == (2, 2)
    assert outside.stderr == (
        "imgoptctl: /etc/passwd: the path lies in no watched folder; watch its folder ([[watch]] in the config)\n"
    )
    assert unseen.stderr.startswith(f"imgoptctl: {photos}/unseen: imgoptd has not seen this file; ")


def test_a_refusal_in_json_has_its_reason(server: Server) -> None:
    done = imgoptctl(server.path, "why", "--json", "/etc/passwd")

    assert json.loads(done.stdout)["error"]["reason"] == "not-watched"


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["done.jpg", "skipped.png"], 0),
        (["done.jpg", "quarantined.png"], 1),
        (["held.jpg"], 1),
        (["deferred.jpg"], 1),
        (["done.jpg", "never"], 124),
    ],
)
def test_wait_tells_by_its_exit_status_how_the_files_ended(
    server: Server, photos: Path, names: list[str], status: int
) -> None:
    done = imgoptctl(server.path, "wait", "--timeout", "0.05", *names, cwd=photos)

    assert done.returncode == status
    assert [line.split()[1] for line in done.stdout.splitlines()] == [f"{photos}/{name}" for name in names]


def test_wait_through_a_link_still_names_each_file_once(server: Server, photos: Path) -> None:
    link = photos.parent / "link"
    link.symlink_to(photos)
    done = imgoptctl(server.path, "wait", "--json", str(link / "done.jpg"), str(photos / "done.png"))

    assert [file["path"] for file in json.loads(done.stdout)] == [f"{photos}/done.jpg", f"{photos}/done.png"]


def test_wait_for_a_file_outside_is_refused(server: Server, photos: Path) -> None:
    assert imgoptctl(server.path, "wait", str(photos / "done.jpg"), "/etc/passwd").returncode == 2


def test_reload_prints_the_diff_or_the_error(server: Server) -> None:
    good = imgoptctl(server.path, "reload")
    server.backend.reload_answer = {"ok": False, "changes": [], "error": "a.toml: workers.max = -1: less than 0"}
    bad = imgoptctl(server.path, "reload")
    bad_json = imgoptctl(server.path, "reload", "--json")

    assert (good.returncode, good.stdout) == (0, "watch /srv/a: priority 5 -> 3\n")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == "imgoptctl: the old configuration stays: a.toml: workers.max = -1: less than 0\n"
    assert json.loads(bad_json.stdout)["ok"] is False


def test_a_daemon_that_does_not_run_is_said_in_one_line_with_the_mend(tmp_path: Path) -> None:
    done = imgoptctl(tmp_path / "none.sock", "status")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"imgoptctl: no imgoptd answers at {tmp_path}/none.sock; start it (systemctl start imgoptd, or imgoptd "
        "--config FILE), or name its socket with --socket\n"
    )


def test_something_else_at_the_socket_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    program = (
        "import socket, sys\ns = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\nprint(flush=True)\n"
        "c = s.accept()[0]; c.recv(99); c.sendall(b'SSH-2.0-x\\r\\n'); c.close()"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        done = imgoptctl(path, "status")
        other.wait(10)

    assert done.returncode == 2
    assert done.stderr.startswith(f"imgoptctl: what answers at {path} is not imgoptd") and done.stderr.count("\n") == 1


def test_a_daemon_that_ends_during_a_wait_says_that_it_is_stopping(tmp_path: Path) -> None:
    with Server(tmp_path / "c.sock", Known(b"/srv/photos")) as server:
        command = [sys.executable, "-m", "imgoptd.cli.imgoptctl", "--socket", str(server.path)]
        waiting = subprocess.Popen([*command, "wait", "/srv/photos/never"], stderr=subprocess.PIPE, text=True)
        assert server.backend.waiting.wait(20)
    _, error = waiting.communicate(timeout=20)

    assert waiting.returncode == 2
    assert error.startswith("imgoptctl: imgoptd is stopping; ")


def test_a_reader_that_leaves_is_no_traceback(server: Server) -> None:
    command = [sys.executable, "-m", "imgoptd.cli.imgoptctl", "--socket", str(server.path), "status", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30)
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


def test_an_answer_that_cannot_be_written_is_one_line_and_no_success(server: Server) -> None:
    command = [sys.executable, "-m", "imgoptd.cli.imgoptctl", f"--socket={server.path}", "status"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (
        2,
        "imgoptctl: the answer could not be written: No space left on device\n",
    )


def test_an_answer_for_which_there_is_no_standard_output_is_one_line_and_no_success(server: Server) -> None:
    command = [sys.executable, "-m", "imgoptd.cli.imgoptctl", f"--socket={server.path}", "status"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (2, "imgoptctl: the answer could not be written: Bad file descriptor\n")


def test_a_terminal_without_unicode_gets_escapes_not_a_traceback(server: Server, photos: Path) -> None:
    path = str(photos / "b\u00e4r.jpg")
    done = imgoptctl(server.path, "why", path, environ={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert done.returncode == 0
    assert done.stdout.startswith(f"{photos}/b\\xe4r.jpg\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["why"], ["wait"], ["wait", "--timeout", "soon", "/a"]])
def test_a_wrong_command_line_ends_with_its_usage(arguments: list[str]) -> None:
    done = imgoptctl(None, *arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("usage: imgoptctl")


def test_the_command_loads_neither_aiohttp_nor_asyncio() -> None:
    program = (
        "import sys, imgoptd.cli.imgoptctl; print([m for m in ('aiohttp', 'asyncio', 'psutil') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout == "[]\n"


def test_restore_takes_paths_or_a_time_and_says_of_each_file_what_became_of_it(server: Server, photos: Path) -> None:
    named = imgoptctl(server.path, "restore", f"{photos}/a.jpg")
    recent = imgoptctl(server.path, "restore", "--since", "2h", "--folder", str(photos), "--force", "--json")

    assert (named.returncode, named.stdout) == (1, f"left         {photos}/a.jpg  (nothing-kept)\n")
    assert recent.returncode == 0
    assert json.loads(recent.stdout)[0]["restored"] is True
    assert server.backend.restore_asked == (7200.0, [os.fsencode(photos)], True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing says what to restore; name files, or write --since 2h"),
        (["--folder", "/srv", "/srv/a.jpg"], "--folder goes with --since; write --since 2h --folder F, or name files"),
        (["--since", "soon"], "'soon'"),
        (["/etc/passwd"], "/etc/passwd: the path lies in no watched folder"),
    ],
)
def test_a_restore_of_nothing_in_particular_is_refused_with_what_to_write(
    server: Server, words: list[str], said: str
) -> None:
    done = imgoptctl(server.path, "restore", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
