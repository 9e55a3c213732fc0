"""The checker is only worth something if it finds damage: each kind is seeded here, and must be found."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import images
from tests.checker import FileFacts, compare, png, read_content, snapshot

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for name, data in (images.good() | images.special_jpegs()).items():
        (made / name).write_bytes(data)
    os.setxattr(made / "everything.jpg", "user.rating", b"5")
    return made


def words(before: dict[bytes, FileFacts], folder: Path, name: str) -> set[str]:
    """What the comparison says about one file; nothing may be said about any other."""
    found = compare(before, snapshot(folder))
    assert {difference.path for difference in found} <= {os.fsencode(name)}
    return {difference.what for difference in found}


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Other bytes in the same inode, the same times: only the content differs."""
    before = path.stat()
    path.write_bytes(change(path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_two_looks_at_an_untouched_folder_differ_in_nothing(folder: Path) -> None:
    assert compare(snapshot(folder), snapshot(folder)) == []


def test_a_smaller_encoding_of_the_same_pixels_is_no_difference(folder: Path) -> None:
    before = snapshot(folder)
    picture = Image.open(folder / "drawing-as-rgba.png")
    picture.load()
    rewrite(folder / "drawing-as-rgba.png", lambda _: images.png(picture.convert("RGB").quantize(6), optimize=True))
    assert words(before, folder, "drawing-as-rgba.png") == set()
    old = before[b"drawing-as-rgba.png"].content
    assert old is not None
    assert (folder / "drawing-as-rgba.png").stat().st_size < old.size


def test_deep_grey_told_in_8_bits_without_loss_is_no_difference() -> None:
    shallow = bytes(range(256)) * 4
    wide = images.raw_png(32, 32, 16, 0, bytes(part for value in shallow for part in (value, value)))
    narrow = images.raw_png(32, 32, 8, 0, shallow)
    assert dict(read_content(wide).pixels)["own"] == dict(read_content(narrow).pixels)["own"]


def test_an_interlaced_png_has_the_pixels_of_its_plain_twin() -> None:
    samples = images.photo(61, 47).tobytes()
    twins = [images.raw_png(61, 47, 8, 2, samples, interlaced=interlaced) for interlaced in (False, True)]
    assert read_content(twins[0]).pixels == read_content(twins[1]).pixels


@pytest.mark.parametrize("name", [name for name in images.pngs() if not name.startswith("16bit")])
def test_the_own_png_decoder_agrees_with_pillow(name: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(images.pngs()[name])
    rows = b"".join(png.canonical_rows(png.parse(path.read_bytes())))
    with Image.open(path) as picture:
        assert rows[0::2] == picture.convert("RGBA").tobytes()
    assert rows[0::2] == rows[1::2]


def nudge(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as picture:
        changed = picture.copy()
    value = changed.getpixel((3, 4))
    assert isinstance(value, tuple)
    changed.putpixel((3, 4), (value[0] ^ 1, *value[1:]))
    return images.png(changed)


def grey_bottom(data: bytes) -> bytes:
    """What a lenient decoder makes of a file that was cut: whole again, with its lower part flat."""
    with Image.open(io.BytesIO(data)) as picture:
        changed = picture.copy()
    changed.paste((128, 128, 128), (0, changed.height * 3 // 4, changed.width, changed.height))
    return images.jpeg(changed, quality=60)


def without_segment(start: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = data.index(start) - 4
        return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]

    return change


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("colours-under-alpha-0.png", nudge, "pixels"),
        ("rgb.png", nudge, "pixels"),
        ("subsampled.jpg", grey_bottom, "pixels"),
        ("everything.jpg", without_segment(b"Exif\0\0"), "metadata"),
        ("everything.jpg", without_segment(b"ICC_PROFILE\0"), "metadata"),
        ("everything.jpg", without_segment(images.JPEG_XMP), "metadata"),
        ("comment.jpg", without_segment(b"a comment"), "metadata"),
        ("everything.jpg", lambda data: data.replace(b"last", b"lost"), "metadata"),
        ("text.png", lambda data: data[: data.index(b"tEXt") - 4] + data[data.index(b"iTXt") - 4 :], "metadata"),
        ("rgb.png", lambda data: images.with_chunks(data, images.chunk(b"tEXt", b"Software\0us")), "metadata"),
        ("trailer.jpg", lambda data: data[: data.rindex(b"\xff\xd9") + 2], "trailer"),
        ("motion-photo.jpg", lambda data: data[:-1], "trailer"),
        ("baseline.jpg", lambda data: data[:-300], "format"),
        ("rgb.png", lambda data: data[:-300], "format"),
        ("baseline.jpg", lambda data: data + b"\0", "larger"),
        ("cmyk.jpg", lambda _: images.jpeg(images.photo(seed=6), quality=95), "shape"),
    ],
)
def test_damage_to_the_content_is_found(folder: Path, name: str, change: Callable[[bytes], bytes], word: str) -> None:
    before = snapshot(folder)
    rewrite(folder / name, change)
    assert word in words(before, folder, name)


def test_a_change_of_a_chunk_that_counts_on_the_colour_type_is_found(folder: Path) -> None:
    before = snapshot(folder)
    with Image.open(folder / "background.png") as picture:
        fewer = images.png(picture.quantize(6), optimize=True)
    body = images.chunk(b"bKGD", b"\0\1\0\2\0\3")
    rewrite(folder / "background.png", lambda _: images.with_chunks(fewer, body))
    assert words(before, folder, "background.png") == {"metadata"}


def test_a_change_of_a_file_that_nothing_can_prove_the_same_is_found(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(images.damaged()["truncated.jpg"])
    before = snapshot(tmp_path)
    rewrite(tmp_path / "cut.jpg", lambda data: data + b"\xff\xd9")
    assert words(before, tmp_path, "cut.jpg") == {"content"}


def move_mtime(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replace_with_later_atime(path: Path) -> None:
    status, twin = path.stat(), path.with_name("twin")
    shutil.copy2(path, twin)
    os.utime(twin, ns=(status.st_atime_ns + 1, status.st_mtime_ns))
    os.rename(twin, path)
    os.setxattr(path, "user.rating", b"5")


def give_away(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (move_mtime, "mtime"),
        (replace_with_later_atime, "atime"),
        (lambda path: path.chmod(0o640), "mode"),
        (give_away, "owner"),
        (lambda path: os.removexattr(path, "user.rating"), "xattrs"),
        (lambda path: os.setxattr(path, "user.rating", b"4"), "xattrs"),
        (lambda path: os.setxattr(path, "user.new", b""), "xattrs"),
        (lambda path: path.unlink(), "lost"),
    ],
)
def test_damage_around_the_content_is_found(folder: Path, change: Callable[[Path], None], word: str) -> None:
    before = snapshot(folder)
    change(folder / "everything.jpg")
    assert words(before, folder, "everything.jpg") == {word}


def test_a_lost_acl_is_found(folder: Path) -> None:
    path = folder / "grey.png"
    if not shutil.which("setfacl"):
        pytest.skip("setfacl is not installed")
    subprocess.run(["setfacl", "-m", "u:65534:r", path], check=True)
    before = snapshot(folder)
    os.removexattr(path, "system.posix_acl_access")
    assert "xattrs" in words(before, folder, "grey.png")


def test_a_broken_hard_link_is_found(folder: Path) -> None:
    os.link(folder / "grey.png", folder / "linked.png")
    before = snapshot(folder)
    shutil.copy2(folder / "grey.png", folder / "copy")
    os.rename(folder / "copy", folder / "grey.png")
    found = {(difference.path, difference.what) for difference in compare(before, snapshot(folder))}
    assert {(b"grey.png", "links"), (b"linked.png", "links")} <= found


def test_a_symlink_that_became_a_file_is_found(folder: Path) -> None:
    (folder / "link.png").symlink_to("grey.png")
    before = snapshot(folder)
    (folder / "link.png").unlink()
    shutil.copy2(folder / "grey.png", folder / "link.png")
    assert words(before, folder, "link.png") == {"kind"}


def test_a_forgotten_temp_is_found(folder: Path) -> None:
    before = snapshot(folder)
    (folder / ".temp").touch()
    assert words(before, folder, ".temp") == {"unexpected"}


def test_the_command_compares_two_folders_and_says_what_differs(folder: Path) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.checker", os.fspath(folder), os.fspath(copy)]
        return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    same = run()
    assert (same.returncode, same.stderr) == (0, "")
    assert same.stdout.rstrip().endswith(" 0 differences")
    rewrite(copy / "rgb.png", nudge)
    different = run()
    assert different.returncode == 1
    assert "rgb.png: pixels: as own sees them" in different.stdout
