"""The bounded hand-over between watching threads and the loop."""

from __future__ import annotations

from imgoptd.adapters.hints import DESYNC_LIMIT, HintBox
from imgoptd.core.model import FileRef, HintKind


def box(limit: int = 100) -> tuple[HintBox, list[int]]:
    wakes: list[int] = []
    return HintBox(lambda: wakes.append(1), limit), wakes


def test_it_wakes_once_each_time_it_stops_being_empty() -> None:
    hints, wakes = box()
    hints.hint(b"/r", b"a", HintKind.CREATED)
    hints.hint(b"/r", b"b", HintKind.CREATED)
    hints.desync(b"/r", b"c", "why")
    assert len(wakes) == 1
    assert hints.drain()
    assert not hints.drain()
    hints.desync(b"/r", b"c", "why")
    assert len(wakes) == 2


def test_one_hint_a_path_is_kept_and_it_is_the_latest() -> None:
    hints, _ = box()
    for kind in (HintKind.CREATED, HintKind.CLOSED):
        hints.hint(b"/r", b"copied", kind)
    for kind in (HintKind.CLOSED, HintKind.CREATED):
        hints.hint(b"/r", b"deleted and begun anew", kind)
    assert hints.drain().hints == [
        (FileRef(b"/r", b"copied"), HintKind.CLOSED),
        (FileRef(b"/r", b"deleted and begun anew"), HintKind.CREATED),
    ]


def test_a_file_that_is_closed_again_and_again_is_told_twice() -> None:
    hints, _ = box()
    for path in (b"in pieces", b"at once", b"in pieces", b"in pieces"):
        hints.hint(b"/r", path, HintKind.CLOSED)
    told = [ref.path for ref, kind in hints.drain().hints if kind is HintKind.CLOSED]
    assert sorted(told) == [b"at once", b"in pieces", b"in pieces"]
    hints.hint(b"/r", b"in pieces", HintKind.CLOSED)
    assert len(hints.drain().hints) == 1


def test_what_does_not_fit_becomes_a_rescan_of_its_own_root() -> None:
    hints, _ = box(limit=2)
    for root, path in ((b"/a", b"1"), (b"/a", b"2"), (b"/b", b"3"), (b"/b", b"4")):
        hints.hint(root, path, HintKind.CREATED)
    hints.hint(b"/a", b"1", HintKind.CLOSED)
    batch = hints.drain()
    assert batch.hints == [(FileRef(b"/a", b"1"), HintKind.CLOSED), (FileRef(b"/a", b"2"), HintKind.CREATED)]
    assert [(desync.root, desync.path) for desync in batch.desyncs] == [(b"/b", b"")]


def test_a_subtree_inside_another_is_not_rescanned_twice_whichever_came_first() -> None:
    hints, _ = box()
    for path in (b"a/b/c", b"a", b"a/d", b"ab", b"x/y"):
        hints.desync(b"/r", path, "why")
    hints.desync(b"/other", b"a/b", "why")
    found = [(desync.root, desync.path) for desync in hints.drain().desyncs]
    assert found == [(b"/r", b"a"), (b"/r", b"ab"), (b"/r", b"x/y"), (b"/other", b"a/b")]


def test_the_whole_root_swallows_its_subtrees() -> None:
    hints, _ = box()
    hints.desync(b"/r", b"a", "why")
    hints.desync(b"/r", b"", "overflow")
    hints.desync(b"/r", b"b", "why")
    assert [(desync.path, desync.why) for desync in hints.drain().desyncs] == [(b"", "overflow")]


def test_very_many_subtrees_become_the_whole_root() -> None:
    hints, _ = box()
    for number in range(DESYNC_LIMIT + 1):
        hints.desync(b"/r", b"%d" % number, "why")
    assert [desync.path for desync in hints.drain().desyncs] == [b""]


def test_a_forgotten_root_leaves_the_others_alone() -> None:
    hints, _ = box()
    for root in (b"/a", b"/b"):
        hints.hint(root, b"1", HintKind.CREATED)
        hints.desync(root, b"d", "why")
    hints.forget(b"/a")
    batch = hints.drain()
    assert [ref.root for ref, _ in batch.hints] == [b"/b"]
    assert [desync.root for desync in batch.desyncs] == [b"/b"]
