"""The output trees: held like the watched folders, made once, and found again when they were lost."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from imgoptd.adapters.beneath import Folder, KernelTooOld
from imgoptd.adapters.journald import Log
from imgoptd.adapters.mirror import is_empty, make_tree, open_tree
from imgoptd.adapters.replace import Refused
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.config.schema import Watch
from imgoptd.core.model import Failure, FailureKind
from imgoptd.core.text import show_path
from imgoptd.daemon.patience import patiently

T = TypeVar("T")


@dataclass(slots=True)
class _Tree:
    watched: bytes
    """A folder whose results go there: a tree that has to be made is made like it."""
    folder: Folder | None = None
    """Let go of, never closed: a thread may still be using it."""
    trouble: str = ""
    was_held: bool = False
    """In this run: it is not missing because its parent or the watched folder was."""


class Outputs:
    def __init__(self, edge: ThreadPoolExecutor, store: StoreThread, log: Log) -> None:
        self._edge = edge
        self._store = store
        self._log = log
        self._trees: dict[bytes, _Tree] = {}
        self._watched: tuple[bytes, ...] = ()
        """The watched folders, whose users may have put anything on the way to a tree in them."""

    def held(self, root: bytes) -> Folder:
        """The held tree. Raises Refused while it is out of reach."""
        tree = self._trees.get(root)
        if tree is None or tree.folder is None:
            detail = f"the output folder {show_path(root)} is out of reach"
            raise Refused(Failure(FailureKind.TRANSIENT, "folder-lost", detail))
        return tree.folder

    def knows(self, root: bytes) -> bool:
        """Is the tree in the configuration?"""
        return root in self._trees

    def reach(self, root: bytes) -> Folder:
        """As `held`; a tree that is not in the configuration any more is opened. Raises Refused and OSError."""
        return self.held(root) if root in self._trees else open_tree(root, self._watched)

    def trouble(self, root: bytes) -> str:
        """Why the tree is out of reach; empty: it is not, or there is none."""
        tree = self._trees.get(root)
        return tree.trouble if tree is not None else ""

    async def apply(self, watches: Sequence[Watch]) -> None:
        """Hold just the trees of these."""
        self._watched = tuple(watch.path for watch in watches)
        wanted = {watch.output: watch.path for watch in watches if watch.output}
        self._trees = {root: tree for root, tree in self._trees.items() if root in wanted}
        for root, watched in wanted.items():
            if root not in self._trees:
                self._trees[root] = _Tree(watched)
                await self._hold(root, may_make=True)

    async def check(self) -> None:
        """Notice trees that were lost, and find them again."""
        for root, tree in list(self._trees.items()):
            if tree.folder is not None and await self._in_thread(partial(_is_there, root, self._watched, tree.folder)):
                continue
            await self._hold(root, may_make=not tree.was_held)

    async def _hold(self, root: bytes, *, may_make: bool) -> None:
        """Where something was put into a tree before, it is neither missing nor empty unless its disk is not mounted:
        to make it, or to fill what stands there, would be to fill another disk.
        """
        tree = self._trees[root]
        used = await patiently(partial(self._store.has_outputs, root), self._log)
        try:
            like = tree.watched if may_make and not used else b""
            opened = partial(_open, root, self._watched, make_like=like, may_be_empty=not used)
            tree.folder = await self._in_thread(opened)
        except (OSError, KernelTooOld) as error:
            tree.folder = None
            sentence = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._lost(root, tree, f"output folder {show_path(root)}: {sentence}")
            return
        tree.was_held = True
        if tree.trouble:
            tree.trouble = ""
            self._log.say(
                "folder-found", f"the output folder {show_path(root)} is there again", 5, ROOT=show_path(root)
            )

    def _lost(self, root: bytes, tree: _Tree, sentence: str) -> None:
        if tree.trouble != sentence:
            tree.trouble = sentence
            text = f"{sentence}; make it or mount it, or take it out of the configuration; until then its jobs wait"
            self._log.say("folder-lost", text, 3, ROOT=show_path(root))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._edge, call)


def _open(root: bytes, watched: Sequence[bytes], *, make_like: bytes, may_be_empty: bool) -> Folder:
    """Hold the tree. One that is missing is made if there is a folder to make it like, and its parent is there.

    Raises OSError and KernelTooOld.
    """
    try:
        folder = open_tree(root, watched)
    except FileNotFoundError:
        if not make_like:
            raise
        make_tree(root, watched, make_like)
        return open_tree(root, watched)
    if not may_be_empty and is_empty(folder):
        said = "it is empty, though results were put there: mount its disk, or put any file in it to begin it anew"
        raise OSError(errno.ENOENT, said)
    return folder


def _is_there(root: bytes, watched: Sequence[bytes], folder: Folder) -> bool:
    """In a thread: does the path still lead to the folder that is held?"""
    try:
        with open_tree(root, watched) as now:
            return now.identity == folder.identity
    except (OSError, KernelTooOld):
        return False
