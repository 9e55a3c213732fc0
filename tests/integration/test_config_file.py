import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgoptd.config.load import ConfigError, load

PROJECT = Path(__file__).resolve().parents[2]

WATCH = '[[watch]]\npath = "/srv/a"\n'


def error_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "imgoptd.toml"
    path.write_text(f'{WATCH}exclude = ["Fotos ä"]\n', "utf-8")
    config = load(path)
    assert config.source == path
    assert config.watches[0].exclude == ("Fotos ä",)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "imgoptd.toml"
    path.write_bytes(b"\xef\xbb\xbf" + WATCH.encode())
    assert load(path).watches[0].path == b"/srv/a"


def test_a_missing_file_is_said_with_its_mend(tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"
    assert error_of(path) == f"{path}: cannot be read (No such file or directory); give the right file with --config"


def test_a_folder_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path}: cannot be read (Is a directory); give the right file with --config"


@pytest.mark.skipif(os.geteuid() != 0, reason="to become another user needs root")
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "secret.toml"
    path.write_text(WATCH)
    path.chmod(0o000)
    script = f"""
import os, pathlib
from imgoptd.config.load import ConfigError, load
os.chdir({os.fspath(tmp_path)!r})
os.setresuid(65534, 65534, 65534)
try:
    load(pathlib.Path("secret.toml"))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "secret.toml: cannot be read (Permission denied); give the right file with --config\n"


def test_a_file_that_is_not_utf8_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(WATCH.encode() + b'exclude = ["\xe4"]\n')
    assert error_of(path) == f"{path}: line 3: is not UTF-8; save the file as UTF-8"


def test_a_file_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.toml"))
    path.write_text("")
    assert error_of(path).startswith(rf"{tmp_path}/\xff\n.toml: watch: is missing; add one")


def test_relative_paths_start_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "x.toml").write_text('[[watch]]\npath = "./drop"\n[daemon]\ncontrol = "c.sock"\n')
    monkeypatch.chdir(tmp_path)
    config = load(Path("config/x.toml"))
    assert config.watches[0].path == os.fsencode(tmp_path / "drop")
    assert config.daemon.control == tmp_path / "c.sock"


def test_a_symlink_in_a_watched_path_is_kept_as_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = tmp_path / "x.toml"
    path.write_text(f'[[watch]]\npath = "{tmp_path}/link"\n')
    assert load(path).watches[0].path == os.fsencode(tmp_path / "link")


def test_the_demo_watches_drop_and_keeps_its_state_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    config = load(Path("config/demo.toml"))
    [watch] = config.watches
    assert (watch.path, watch.existing) == (os.fsencode(PROJECT / "drop"), "optimize")
    assert config.daemon.state_dir == PROJECT / ".demo" / "state"
    assert config.daemon.control == PROJECT / ".demo" / "control.sock"
    assert (config.daemon.log, config.workers.min, config.workers.max) == ("text", 0, 0)


def test_the_default_file_asks_for_a_folder_and_shows_the_defaults(tmp_path: Path) -> None:
    shipped = PROJECT / "config" / "imgoptd.toml"
    assert "watch: is missing; add one" in error_of(shipped)
    # Every commented setting, uncommented, is valid and is the default it claims to be.
    lines = [line.removeprefix("# ") for line in shipped.read_text("utf-8").splitlines()]
    settings = [line for line in lines if line.startswith("[") or " = " in line.split("#")[0]]
    filled = tmp_path / "filled.toml"
    filled.write_text("\n".join(settings), "utf-8")
    plain = tmp_path / "plain.toml"
    plain.write_text('[[watch]]\npath = "/srv/photos"\n')
    full, default = load(filled), load(plain)
    assert (full.daemon, full.workers, full.undo) == (default.daemon, default.workers, default.undo)
    assert full.watches == default.watches


def test_a_fifo_in_place_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.toml")
    assert "Not a regular file" in error_of(tmp_path / "c.toml")
