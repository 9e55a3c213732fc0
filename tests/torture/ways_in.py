"""The ways in which files come into a folder, as programs really do it.

A way puts files with given contents at given paths. Those that write over something are given an older content first.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Files = Mapping[str, bytes]
"""By their names; a way may be given any number."""


@dataclass(frozen=True, slots=True)
class Scene:
    outside: Path
    """On the filesystem of the watched folder."""
    elsewhere: Path
    """On another one, where there is another."""

    def stage(self, files: Files, *, on_another: bool = False) -> Path:
        """A new folder with the files, outside."""
        folder = Path(tempfile.mkdtemp(dir=self.elsewhere if on_another else self.outside))
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder


Way = Callable[[Scene, Path, Files], None]
"""Puts the files into the folder, which may be missing for some of the ways, and is made then."""


def command(*words: str | Path) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"{words[0]} failed: {done.stderr.decode(errors='replace')}")


# ---- whole trees ----------------------------------------------------------------------------------------------------


def tree_moved_in(scene: Scene, folder: Path, files: Files) -> None:
    staged = scene.stage(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(folder)


def mkdir_and_cp(scene: Scene, folder: Path, files: Files) -> None:
    staged = scene.stage(files)
    command("sh", "-c", 'mkdir -p "$2" && cp "$1"/* "$2"', "sh", staged, folder)
    shutil.rmtree(staged)


def makedirs_and_write(_scene: Scene, folder: Path, files: Files) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def cp_archive(scene: Scene, folder: Path, files: Files) -> None:
    staged = scene.stage(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command("cp", "-a", staged, folder)
    shutil.rmtree(staged)


def mv_tree_from_another_filesystem(scene: Scene, folder: Path, files: Files) -> None:
    staged = scene.stage(files, on_another=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command("mv", staged, folder)


def tar_x(scene: Scene, folder: Path, files: Files) -> None:
    staged = scene.stage(files)
    archive = staged.with_suffix(".tar")
    command("tar", "-cf", archive, "-C", staged, ".")
    folder.mkdir(parents=True, exist_ok=True)
    command("tar", "-xf", archive, "-C", folder)
    shutil.rmtree(staged)
    archive.unlink()


def unzip(scene: Scene, folder: Path, files: Files) -> None:
    archive = Path(tempfile.mkstemp(dir=scene.outside, suffix=".zip")[1])
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command("unzip", "-q", "-o", archive, "-d", folder)
    archive.unlink()


# ---- rsync ----------------------------------------------------------------------------------------------------------


def rsync(*options: str) -> Way:
    def way(scene: Scene, folder: Path, files: Files) -> None:
        staged = scene.stage(files)
        folder.mkdir(parents=True, exist_ok=True)
        command("rsync", *(option.format(outside=scene.outside) for option in options), f"{staged}/", f"{folder}/")
        shutil.rmtree(staged)

    return way


# ---- file by file ---------------------------------------------------------------------------------------------------


def _each(put: Callable[[Scene, Path, bytes], None]) -> Way:
    def way(scene: Scene, folder: Path, files: Files) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            put(scene, folder / name, data)

    return way


def _staged(scene: Scene, data: bytes, *, on_another: bool = False) -> Path:
    return scene.stage({"staged": data}, on_another=on_another) / "staged"


def _mv(scene: Scene, path: Path, data: bytes) -> None:
    os.replace(_staged(scene, data), path)


def _mv_from_another_filesystem(scene: Scene, path: Path, data: bytes) -> None:
    command("mv", _staged(scene, data, on_another=True), path)


def _cp_reflink(scene: Scene, path: Path, data: bytes) -> None:
    command("cp", "--reflink=auto", _staged(scene, data), path)


def _install(scene: Scene, path: Path, data: bytes) -> None:
    command("install", "-m", "644", _staged(scene, data), path)


def _dd(scene: Scene, path: Path, data: bytes) -> None:
    command("dd", f"if={_staged(scene, data)}", f"of={path}", "bs=97", "status=none")


def _copy2(scene: Scene, path: Path, data: bytes) -> None:
    shutil.copy2(_staged(scene, data), path)  # which sets the times after the close


def _ln_and_rm(scene: Scene, path: Path, data: bytes) -> None:
    staged = _staged(scene, data)
    os.link(staged, path)
    staged.unlink()


def _link(descriptor: int, path: Path) -> None:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:  # with a folder given Python calls linkat(2), which alone can follow the link under /proc
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _tmpfile_linked(_scene: Scene, path: Path, data: bytes) -> None:
    descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o644)
    try:
        os.write(descriptor, data)
        _link(descriptor, path)
    finally:
        os.close(descriptor)


def _tmpfile_linked_early(_scene: Scene, path: Path, data: bytes) -> None:
    descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o644)
    try:
        os.write(descriptor, data[: len(data) // 2])
        _link(descriptor, path)
        time.sleep(0.02)
        os.write(descriptor, data[len(data) // 2 :])
    finally:
        os.close(descriptor)


def _mapped(_scene: Scene, path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.ftruncate(descriptor, len(data))
        window = mmap.mmap(descriptor, len(data))
    finally:
        os.close(descriptor)  # from here on only the mapping tells of a writer
    with window:
        for at in range(0, len(data), 400):
            window[at : at + 400] = data[at : at + 400]
            time.sleep(0.002)


def _part_renamed(_scene: Scene, path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for at in range(0, len(data), 700):
            file.write(data[at : at + 700])
            file.flush()
            time.sleep(0.001)
    part.rename(path)


# ---- over what stands there -----------------------------------------------------------------------------------------


def _save_by_rename(_scene: Scene, path: Path, data: bytes) -> None:
    temp = path.with_name(f".{path.name}.tmp")
    with temp.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)


def _save_as_vim_does(_scene: Scene, path: Path, data: bytes) -> None:
    backup = path.with_name(path.name + "~")
    if path.exists():
        path.rename(backup)
    with path.open("wb") as file:
        file.write(data[:500])
        file.flush()
        file.write(data[500:])
        file.flush()
        os.fsync(file.fileno())
    backup.unlink(missing_ok=True)


def _truncate_and_write(_scene: Scene, path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.flush()
        time.sleep(0.001)
        file.write(data)


WAYS: dict[str, Way] = {
    "tree moved in": tree_moved_in,
    "mkdir -p && cp": mkdir_and_cp,
    "makedirs and write": makedirs_and_write,
    "cp -a tree": cp_archive,
    "mv tree from another filesystem": mv_tree_from_another_filesystem,
    "tar x": tar_x,
    "unzip": unzip,
    "rsync -r": rsync("-r"),
    "rsync -a": rsync("-a"),
    "rsync --inplace": rsync("-r", "--inplace"),
    "rsync -a --delay-updates": rsync("-a", "--delay-updates"),
    "rsync --partial": rsync("-r", "--partial"),
    "rsync --temp-dir": rsync("-r", "--temp-dir={outside}"),
    "mv": _each(_mv),
    "mv from another filesystem": _each(_mv_from_another_filesystem),
    "cp --reflink": _each(_cp_reflink),
    "install": _each(_install),
    "dd in small blocks": _each(_dd),
    "copy, then set times": _each(_copy2),
    "ln, rm": _each(_ln_and_rm),
    "O_TMPFILE, linkat": _each(_tmpfile_linked),
    "O_TMPFILE, linkat while writing": _each(_tmpfile_linked_early),
    "mmap": _each(_mapped),
    "NAME.part renamed": _each(_part_renamed),
}

# -I: rsync takes a file of the same size and second for the same.
OVER: dict[str, Way] = {
    "rsync -a over": rsync("-aI"),
    "rsync --inplace over": rsync("-aI", "--inplace"),
    "save by rename": _each(_save_by_rename),
    "save as vim does": _each(_save_as_vim_does),
    "truncate and write": _each(_truncate_and_write),
    "mv over": _each(_mv),
    "cp over": _each(_cp_reflink),
}


def missing_tools() -> dict[str, str]:
    """Ways that cannot be gone here, with the reason."""
    needs = {name: name.split()[0] for name in (*WAYS, *OVER) if name.split()[0] in ("rsync", "unzip")}
    return {name: f"{tool} is not installed" for name, tool in needs.items() if shutil.which(tool) is None}
