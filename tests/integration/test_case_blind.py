"""Where case makes no difference, one file answers to many names: it is one file all the same, and replaced as any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.listings import Listings
from imgoptd.adapters.look import look
from imgoptd.adapters.replace.names import Names
from imgoptd.core.model import FileKind
from tests.case_blind import case_blind_disk
from tests.replacing import NEW, NEWER, OLD, crashed, finish, intend, recovered, start, temps


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with case_blind_disk(tmp_path / "ntfs") as made:
        (made / "sub").mkdir()
        (made / "sub" / "a.jpg").write_bytes(OLD)
        yield made


def test_only_the_spelling_that_the_folders_list_is_the_file(root: Path) -> None:
    with Folder(os.fsencode(root)) as folder:
        assert look(folder, b"sub/a.jpg").kind is FileKind.REGULAR
        for other in (b"sub/A.JPG", b"sub/a.Jpg", b"SUB/a.jpg", b"Sub/A.jpg"):
            seen = look(folder, other)
            assert (seen.kind, seen.listed_as) == (FileKind.GONE, b"sub/a.jpg")
        assert look(folder, b"sub/b.jpg").listed_as == b""


def test_a_listing_that_is_old_is_not_believed_about_another_spelling(root: Path) -> None:
    listings = Listings(rest=1e9)
    with Folder(os.fsencode(root)) as folder:
        assert look(folder, b"sub/a.jpg", listings=listings).kind is FileKind.REGULAR
        (root / "sub" / "new.jpg").write_bytes(OLD)
        assert look(folder, b"sub/new.jpg", listings=listings).kind is FileKind.REGULAR
        assert listings.listed == 2, "the folder and its own, once each"
        (root / "sub" / "a.jpg").unlink()
        (root / "sub" / "b.jpg").write_bytes(OLD)
        assert look(folder, b"sub/B.JPG", listings=Listings()).listed_as == b"sub/b.jpg"


def test_a_file_is_replaced_there_and_recovered_there(root: Path) -> None:
    path = root / "sub" / "a.jpg"
    with Folder(os.fsencode(root)) as folder:
        with start(folder, b"sub/a.jpg", root.parent) as job:
            finish(job, intend(folder, b"sub/a.jpg", job))
        assert path.read_bytes() == NEW
        assert temps(root) == []


def test_a_file_that_must_be_kept_beside_another_gets_a_name_of_its_own(root: Path) -> None:
    (root / ".imgoptd-0.tmp").write_bytes(NEWER)
    with Folder(os.fsencode(root)) as folder:
        parent_fd = folder.open_parent(b"A.jpg")
        try:
            kept = Names(parent_fd, b".imgoptd-0.tmp", b"A.jpg").keep_temp()
        finally:
            os.close(parent_fd)
    assert (root / os.fsdecode(kept)).read_bytes() == NEWER
    assert len(temps(root)) == 1


@pytest.mark.parametrize("point", ["after_materialise", "after_rename"])
def test_a_replace_that_died_there_leaves_one_file_and_no_temp(root: Path, point: str) -> None:
    (root / "a.jpg").write_bytes(OLD)
    intent, _ = crashed(root, point)
    recovered(root, intent)
    assert (root / "a.jpg").read_bytes() in (OLD, NEW)
    assert temps(root) == []


def test_on_an_ordinary_filesystem_two_spellings_are_two_files_hard_links_too(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    os.link(tmp_path / "a.jpg", tmp_path / "A.JPG")
    with Folder(os.fsencode(tmp_path)) as folder:
        assert {look(folder, name).kind for name in (b"a.jpg", b"A.JPG")} == {FileKind.REGULAR}
        assert look(folder, b"a.JPG").listed_as == b""
