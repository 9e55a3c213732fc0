"""Files that are left alone for the sake of others around them, with real folders, manifests and checksum tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.companions import Companions
from imgoptd.adapters.listings import REST, Listings
from imgoptd.core.manifest import USUAL_EXTENSIONS, USUAL_NAMES
from imgoptd.core.model import FailureKind
from tests.another_user import NOBODY, run_as

HASH = "d41d8cd98f00b204e9800998ecf8427e"
ODD_NAMES = [b"a.jpg", b"a b.jpg", b" a.jpg", b"-a.jpg", b"*a.jpg", b"a\\b.jpg", b"a\nb.jpg", b"a\rb.jpg", b"\xff.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder(os.fsencode(tmp_path)) as held:
        yield held


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def old(path: Path) -> None:
    """Make the folder one that was still for long: its listing is sure to be true until it changes."""
    os.utime(path, (1_000_000_000, 1_000_000_000))


def reason(companions: Companions, folder: Folder, path: bytes) -> str:
    failure = companions.leave(folder, path)
    if failure is None:
        return ""
    assert failure.kind is FailureKind.REJECTED
    return f"{failure.reason}: {failure.detail}"


def test_a_file_named_in_a_manifest_beside_it_or_above_it_is_left_with_the_manifests_path(
    tmp_path: Path, folder: Folder
) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "sub/deep/a.jpg", "sub/deep/b.jpg")
    (tmp_path / "SHA256SUMS").write_text(f"{HASH}  a.jpg\n{HASH}  sub/deep/a.jpg\n")
    (tmp_path / "sub" / "photos.sfv").write_text("; made by hand\ndeep\\b.jpg 12345678\n")
    companions = Companions()
    assert reason(companions, folder, b"a.jpg").startswith("in-checksum-manifest: the checksum manifest SHA256SUMS ")
    assert " SHA256SUMS " in reason(companions, folder, b"sub/deep/a.jpg")
    assert " sub/photos.sfv " in reason(companions, folder, b"sub/deep/b.jpg")
    assert reason(companions, folder, b"b.jpg") == ""


def test_a_manifest_of_one_file_needs_no_name_inside(tmp_path: Path, folder: Folder) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.jpg.md5").write_text(HASH)
    companions = Companions()
    assert " a.jpg.md5 " in reason(companions, folder, b"a.jpg")
    assert reason(companions, folder, b"b.jpg") == ""


@pytest.mark.parametrize(
    "command", [["md5sum"], ["sha256sum", "--tag"], ["b2sum", "--zero"], ["sha512sum", "--binary"]]
)
def test_what_a_real_tool_lists_is_left_whatever_its_name(tmp_path: Path, folder: Folder, command: list[str]) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    for name in ODD_NAMES:
        (tmp_path / os.fsdecode(name)).touch()
    done = subprocess.run([*command, "--", *ODD_NAMES], cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / "checksums.txt").write_bytes(done.stdout)
    companions = Companions()
    assert [name for name in ODD_NAMES if not reason(companions, folder, name)] == []
    assert reason(companions, folder, b"c.jpg") == ""


def test_absolute_paths_and_paths_from_further_up_name_the_file_too(tmp_path: Path, folder: Folder) -> None:
    touch(tmp_path, "sub/a.jpg", "sub/b.jpg", "sub/c.jpg")
    listed = f"{HASH}  {tmp_path}/sub/a.jpg\n{HASH}  {tmp_path.name}/sub/b.jpg\n"
    (tmp_path / "sub" / "MD5SUMS").write_text(listed)
    companions = Companions()
    assert reason(companions, folder, b"sub/a.jpg")
    assert reason(companions, folder, b"sub/b.jpg")
    assert reason(companions, folder, b"sub/c.jpg") == ""


def test_a_manifest_that_comes_changes_or_goes_counts_from_then_on(tmp_path: Path, folder: Folder) -> None:
    touch(tmp_path, "a.jpg")
    old(tmp_path)
    companions = Companions(Listings(rest=0), rest=0)
    assert reason(companions, folder, b"a.jpg") == ""
    (tmp_path / "x.md5").write_text(f"{HASH}  b.jpg\n")
    assert reason(companions, folder, b"a.jpg") == ""
    (tmp_path / "x.md5").write_text(f"{HASH}  a.jpg\n")
    assert reason(companions, folder, b"a.jpg")
    (tmp_path / "x.md5").unlink()
    assert reason(companions, folder, b"a.jpg") == ""


@pytest.mark.parametrize("name", [*USUAL_NAMES, *(b"a.jpg" + extension for extension in USUAL_EXTENSIONS)])
def test_a_usual_manifest_is_seen_at_once_in_a_folder_whose_listing_is_old(
    tmp_path: Path, folder: Folder, name: bytes
) -> None:
    touch(tmp_path, "a.jpg")
    companions = Companions(Listings(rest=1e9))
    assert reason(companions, folder, b"a.jpg") == ""
    (tmp_path / os.fsdecode(name)).write_text(f"{HASH}  a.jpg\n")
    assert reason(companions, folder, b"a.jpg")


@pytest.mark.parametrize(("jpeg", "raw"), [("IMG_1.JPG", "IMG_1.NEF"), ("img_1.jpg", "img_1.dng")])
def test_a_raw_file_is_seen_at_once_in_a_folder_whose_listing_is_old(
    tmp_path: Path, folder: Folder, jpeg: str, raw: str
) -> None:
    touch(tmp_path, jpeg)
    companions = Companions(Listings(rest=1e9))
    assert reason(companions, folder, jpeg.encode()) == ""
    touch(tmp_path, raw)
    assert reason(companions, folder, jpeg.encode()) == f"raw-sidecar: it belongs to the raw file {raw} beside it"
    (tmp_path / raw).unlink()
    assert reason(companions, folder, jpeg.encode()) == ""


def test_a_folder_that_is_being_filled_is_not_listed_for_each_file(tmp_path: Path, folder: Folder) -> None:
    listings = Listings(rest=1e9)
    companions = Companions(listings)
    for number in range(300):
        touch(tmp_path, f"{number}.jpg")
        assert reason(companions, folder, b"%d.jpg" % number) == ""
    assert listings.listed == 1


def test_a_folder_that_stays_as_it_is_is_listed_once(tmp_path: Path, folder: Folder) -> None:
    touch(tmp_path, "a.jpg")
    old(tmp_path)
    listings = Listings(rest=0)
    companions = Companions(listings, rest=0)
    for _ in range(10):
        assert reason(companions, folder, b"a.jpg") == ""
    assert listings.listed == 1
    assert REST > 0


def test_the_jpeg_beside_a_raw_file_is_left_and_nothing_else_of_that_name(tmp_path: Path, folder: Folder) -> None:
    touch(
        tmp_path,
        "IMG_1.CR2",
        "IMG_1.JPG",
        "IMG_1.png",
        "IMG_1.CR2.jpg",
        "IMG_2.JPG",
        "sub/IMG_1.JPG",
        "x.raf",
        "x.heic",
    )
    (tmp_path / "IMG_2.CR2").mkdir()
    companions = Companions()
    assert reason(companions, folder, b"IMG_1.JPG") == "raw-sidecar: it belongs to the raw file IMG_1.CR2 beside it"
    assert reason(companions, folder, b"x.heic") == "raw-sidecar: it belongs to the raw file x.raf beside it"
    for other in (b"IMG_1.png", b"IMG_1.CR2.jpg", b"IMG_2.JPG", b"sub/IMG_1.JPG"):
        assert reason(companions, folder, other) == ""


def test_a_manifest_too_large_to_be_read_may_name_all_beside_and_below_it(tmp_path: Path, folder: Folder) -> None:
    touch(tmp_path, "a.jpg", "sub/a.jpg")
    (tmp_path / "big.md5").write_text(f"{HASH}  b.jpg\n" * 10)
    companions = Companions(most_bytes=100)
    for path in (b"a.jpg", b"sub/a.jpg"):
        assert reason(companions, folder, path) == (
            "in-checksum-manifest: the checksum manifest big.md5 is too large to be read (400 B): "
            "whatever it may name is left alone"
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_manifest_that_may_not_be_read_may_name_all_beside_it() -> None:
    code = (
        "import os, sys\nfrom imgoptd.adapters.beneath import Folder\n"
        "from imgoptd.adapters.companions import Companions\n"
        "print(Companions().leave(Folder(os.fsencode(sys.argv[1])), b'a.jpg').detail)"
    )
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        root = Path(made)
        root.chmod(0o755)
        touch(root, "a.jpg", "SHA256SUMS")
        (root / "SHA256SUMS").chmod(0o600)
        done = run_as(NOBODY, code, root)
    assert done.stdout == (
        "the checksum manifest SHA256SUMS cannot be read (Permission denied): whatever it may name is left alone\n"
    ), done.stderr


def test_what_is_neither_a_file_nor_a_link_is_no_manifest(tmp_path: Path, folder: Folder) -> None:
    touch(tmp_path, "b.jpg", "c")
    os.mkfifo(tmp_path / "b.jpg.md5")
    (tmp_path / "c.md5").mkdir()
    companions = Companions()
    assert reason(companions, folder, b"b.jpg") == ""
    assert reason(companions, folder, b"c") == ""


@pytest.mark.parametrize("name", ["SHA256SUMS", "photos.sfv"])
def test_a_manifest_that_is_a_link_is_not_followed_and_may_name_all_beside_and_below_it(
    tmp_path: Path, folder: Folder, name: str
) -> None:
    touch(tmp_path, "a.jpg", "sub/a.jpg")
    (tmp_path / "list").write_text(f"{HASH}  a.jpg\n")
    (tmp_path / name).symlink_to("list")
    companions = Companions()
    for path in (b"a.jpg", b"sub/a.jpg"):
        assert reason(companions, folder, path) == (
            f"in-checksum-manifest: the checksum manifest {name} is a symbolic link, which is not followed: "
            "whatever it may name is left alone"
        )


def test_a_raw_file_that_is_a_link_has_no_sidecar(tmp_path: Path, folder: Folder) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "a.cr2").symlink_to("elsewhere")
    assert reason(Companions(), folder, b"a.jpg") == ""


def test_many_manifests_in_one_folder_each_name_their_file(tmp_path: Path, folder: Folder) -> None:
    for number in range(200):
        touch(tmp_path, f"{number}.jpg")
        (tmp_path / f"{number}.jpg.md5").write_text(f"{HASH}  {number}.jpg\n")
    companions = Companions()
    assert all(f" {number}.jpg.md5 " in reason(companions, folder, b"%d.jpg" % number) for number in range(200))
