"""`imgoptd --check`: will the daemon run here, as well as it could, and if not, what mends it?

Changes nothing: the few files it makes to try something are its own and gone again at once. Runs beside a daemon.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from imgoptd.adapters import triggers
from imgoptd.adapters.bounding import may_bound_workers
from imgoptd.adapters.cgroup import Groups
from imgoptd.adapters.filesystems import filesystem_of
from imgoptd.adapters.inotify_limits import Exhausted, inotify_limit, mend
from imgoptd.adapters.inspect_folder import Survey, inspect_folder
from imgoptd.adapters.inspect_output import inspect_output
from imgoptd.adapters.journal_socket import SOCKET_PATH
from imgoptd.adapters.room import told_room
from imgoptd.adapters.sensors import Sensors
from imgoptd.config.schema import Config, Watch
from imgoptd.core.text import one_line, show_bytes, show_path
from imgoptd.wire.findings import Finding, Level

_CODECS = """
import importlib, importlib.metadata, json
from imgoptd.worker.sandbox import landlock_abi
answer = {"landlock": landlock_abi()}
for name, package in (
    ("PIL.Image", "Pillow"),
    ("mozjpeg_lossless_optimization", "mozjpeg-lossless-optimization"),
    ("simplejpeg", "simplejpeg"),
    ("oxipng", "pyoxipng"),
):
    try:
        importlib.import_module(name)
        answer[package] = importlib.metadata.version(package)
    except Exception as error:
        answer["error"] = f"{package}: {type(error).__name__}: {error}"
print(json.dumps(answer))
"""


def inspect(config: Config) -> list[Finding]:
    """Look at everything the configuration needs. Takes seconds in large trees."""
    findings: list[Finding] = []
    native: list[tuple[Watch, Survey]] = []
    for watch in config.watches:
        found, survey = inspect_folder(watch)
        findings += found
        if survey.folders and _is_native(watch):
            native.append((watch, survey))
    for output in sorted({watch.output for watch in config.watches if watch.output}):
        findings += inspect_output(output, [watch.path for watch in config.watches])
    findings += _same_folders(config)
    findings += _inotify(native)
    findings += _state_dir(config.daemon.state_dir)
    findings += _control(config.daemon.control)
    findings += _machine()
    findings += _log(config.daemon.log)
    findings += _codecs()
    return findings


def _is_native(watch: Watch) -> bool:
    return watch.backend == "native" or (watch.backend == "auto" and not filesystem_of(watch.path).remote)


def _same_folders(config: Config) -> Iterator[Finding]:
    """Symlinks may lead two watched folders to one place, which the configuration alone does not show."""
    seen: dict[bytes, bytes] = {}
    for watch in config.watches:
        real = os.path.realpath(watch.path)
        for other, path in seen.items():
            if real == other or real.startswith(other + b"/") or other.startswith(real + b"/"):
                sentence = f"is, or lies inside or around, {show_path(path)} once symlinks are followed"
                yield Finding(Level.WARNING, f"watch {show_path(watch.path)}", sentence, "watch one of the two alone")
        seen[real] = watch.path


def _inotify(native: list[tuple[Watch, Survey]]) -> Iterator[Finding]:
    if not native:
        return
    fallback = "folders that find none left will be polled"
    descriptor = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        exhausted = Exhausted(native[0][0].path, errno.EMFILE)
        yield Finding(Level.WARNING, "inotify", f"{exhausted.sentence}: {fallback}", exhausted.mend)
        return
    os.close(descriptor)
    needed = sum(survey.folders for _, survey in native)
    about = f"{needed} or more" if not all(survey.whole for _, survey in native) else str(needed)
    key, limit = inotify_limit("watches")
    sentence = f"{about} of the {limit} watches that {key} allows are needed"
    better = mend(key, max(4 * needed, 524288))
    if limit and needed > limit:
        yield Finding(Level.WARNING, "inotify", f"{sentence}: {fallback}", better)
    elif limit and needed > 0.8 * limit:
        yield Finding(Level.WARNING, "inotify", f"{sentence}, and all programs of this user share them", better)
    else:
        yield Finding(Level.OK, "inotify", sentence)


def _state_dir(folder: Path) -> Iterator[Finding]:
    subject = f"state_dir {one_line(str(folder))}"
    trouble = _trouble_making(folder)
    if trouble:
        yield Finding(Level.ERROR, subject, trouble, "give [daemon] state_dir a folder that the daemon may write to")
        return
    there = _nearest(folder)
    filesystem, space = filesystem_of(os.fsencode(there)), os.statvfs(there)
    enough, room = told_room(space)
    if filesystem.remote:
        sentence = f"lies on {filesystem.name}: SQLite's write-ahead log needs a filesystem of this machine"
        yield Finding(Level.WARNING, subject, sentence, "move it to a local disk")
    if not enough:
        yield Finding(Level.WARNING, subject, f"{filesystem.name}, {room}", "free some space")
    elif not filesystem.remote:
        yield Finding(Level.OK, subject, f"{filesystem.name}, {room}")


def _control(path: Path) -> Iterator[Finding]:
    subject = f"control {one_line(str(path))}"
    trouble = _trouble_making(path.parent)
    if trouble:
        mend_it = "give [daemon] control a path in a folder that the daemon may write to"
        yield Finding(Level.ERROR, subject, f"its folder: {trouble}", mend_it)
        return
    try:
        kind = os.lstat(path).st_mode
    except OSError:
        yield Finding(Level.OK, subject, "can be made")
        return
    if not stat.S_ISSOCK(kind):
        yield Finding(Level.ERROR, subject, "something that is no socket stands there", "move it away")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(os.fsencode(path))
            yield Finding(Level.OK, subject, "a running daemon answers there")
        except OSError:
            yield Finding(Level.OK, subject, "was left by a daemon that ended; it will be replaced")


def _machine() -> Iterator[Finding]:
    sensors = Sensors()
    limits = sensors.limits()
    quota = "" if limits.cpu_quota is None else f", by a quota of {limits.cpu_quota:g}"
    if limits.memory_bytes is None:
        sentence = "its size cannot be read: only one worker will run"
        yield Finding(Level.WARNING, "memory", sentence, "make /proc/meminfo readable (ProcSubset=all in the unit)")
    else:
        yield Finding(Level.OK, "memory", f"{show_bytes(limits.memory_bytes)}, {limits.cpus} CPUs may be used{quota}")
    yield _bounds()
    try:
        with open("/proc/pressure/memory", encoding="ascii") as file:
            file.read()
        yield Finding(Level.OK, "pressure", "the kernel reports memory pressure")
    except OSError as error:
        sentence = f"the kernel does not report memory pressure ({error.strerror}); predictions alone guard the memory"
        yield Finding(Level.WARNING, "pressure", sentence, "boot with psi=1 on the kernel's command line")
    yield _alerts(sensors.groups)
    sensors.close()
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        sentence = "this C library has no renameat2, which a replace needs"
        yield Finding(Level.ERROR, "libc", sentence, "use glibc 2.28 or newer, or musl 1.2.6 or newer")


def _bounds() -> Finding:
    if may_bound_workers():
        return Finding(Level.OK, "workers", "the daemon bounds the memory of each")
    sentence = "each bounds its own memory: without CAP_SYS_RESOURCE root may not do that to another user's process"
    return Finding(Level.OK, "workers", sentence)


def _alerts(groups: Groups) -> Finding:
    """What would tell a daemon started like this that memory runs short. Arms it all, for a moment."""
    armed, refused = triggers.arm(groups, os.environ)
    for trigger in armed:
        trigger.close()
    told = ", ".join(trigger.name for trigger in armed) or "none: readings alone show that memory runs short"
    return Finding(Level.OK, "alerts", one_line(told + "".join(f"; not {why}" for why in refused)))


def _log(wanted: str) -> Iterator[Finding]:
    if os.path.exists(SOCKET_PATH):
        yield Finding(Level.OK, "journald", "answers")
    elif wanted == "journal":
        sentence = "does not answer; events go to standard error with the same fields"
        yield Finding(Level.WARNING, "journald", sentence, 'start systemd-journald, or set log = "auto"')
    else:
        yield Finding(Level.OK, "journald", "is not there; events go to standard error with the same fields")


def _codecs() -> Iterator[Finding]:
    """In a process of their own: only workers load codecs."""
    mend_it = "install the package again: ./dev setup, or pip install --force-reinstall"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODECS],
            cwd="/",
            capture_output=True,
            timeout=60,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        answer = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit status {error.returncode}"]
        yield Finding(Level.ERROR, "codecs", f"cannot be loaded: {one_line(said[0])}", mend_it)
        return
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        yield Finding(Level.ERROR, "codecs", f"cannot be loaded: {one_line(str(error))}", mend_it)
        return
    abi, failure = answer.pop("landlock"), answer.pop("error", None)
    if failure:
        yield Finding(Level.ERROR, "codecs", f"cannot be loaded: {one_line(failure)}", mend_it)
        return
    yield Finding(Level.OK, "codecs", ", ".join(f"{name} {version}" for name, version in sorted(answer.items())))
    if abi:
        yield Finding(Level.OK, "sandbox", f"Landlock (ABI {abi}) closes files to workers")
    else:
        sentence = "the kernel has no Landlock: workers run with fewer protections"
        yield Finding(Level.WARNING, "sandbox", sentence, "use a kernel with Landlock in its lsm= list (5.13 or newer)")


def _nearest(folder: Path) -> Path:
    """What stands at the path, or at the nearest one above it where something does. Raises OSError."""
    while True:
        try:
            os.stat(folder)
            return folder
        except (FileNotFoundError, NotADirectoryError):
            folder = folder.parent


def _trouble_making(folder: Path) -> str:
    """Why files could not be made in this folder, which may have to be made first; empty if they could."""
    try:
        there = _nearest(folder)
    except OSError as error:
        return f"it cannot be reached by user {os.geteuid()}: {error.strerror}"
    if not there.is_dir():
        return f"{one_line(str(there))} is not a folder"
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return f"{one_line(str(there))} is mounted read-only"
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        return f"user {os.geteuid()} may not write in {one_line(str(there))}"
    return ""
