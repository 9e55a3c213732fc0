"""Which files are checksum manifests, and which files they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.manifest import USUAL_EXTENSIONS, USUAL_NAMES, is_manifest, key, named, names_in, subject

MD5 = b"d41d8cd98f00b204e9800998ecf8427e"
SHA256 = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "name",
    [
        *USUAL_NAMES,
        b"SHA224SUMS",
        b"SHA384SUMS",
        b"sha256sum.txt",
        b"MD5SUM",
        b"Checksums.TXT",
        b"photos-SHA256SUMS",
        b"photos.sha256sums",
        b"holiday_checksums.txt",
        b"Holiday-2024-CHECKSUM",
        b"manifest-sha256.txt",
        b"tagmanifest-md5.txt",
        b"photos.md5",
        b"PHOTOS.MD5",
        b"a.jpg.md5",
        b"a.jpg.sha512.txt",
        b"a.sfv",
        b"a.sha3-256",
        b"a.blake3",
        b"a.b2",
        b"a.sha256sum",
        b"\xff.md5",
    ],
)
def test_a_list_of_checksums_is_known_by_its_name(name: bytes) -> None:
    assert is_manifest(name)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b".",
        b".md5",
        b"md5",
        b"a.jpg",
        b"sum.jpg",
        b"checksums.jpg",
        b"SHA256SUMS.png",
        b"mychecksums",
        b"resumes",
        b"album.txt",
        b"manifest.txt",
        b"manifest.json",
        b"SHA256SUMS.asc",
        b"xmanifest-md5.txt",
    ],
)
def test_what_only_looks_alike_is_no_list(name: bytes) -> None:
    assert not is_manifest(name)


def test_the_manifest_of_one_file_is_about_that_file_whatever_it_contains() -> None:
    assert subject(b"a.jpg.md5") == b"a.jpg"
    assert subject(b"a.jpg.SHA256.txt") == b"a.jpg"
    assert [subject(b"a.jpg" + extension) for extension in USUAL_EXTENSIONS] == [b"a.jpg"] * len(USUAL_EXTENSIONS)
    assert subject(b"SHA256SUMS") is None
    assert subject(b"a.jpg") is None
    assert subject(b".md5") is None


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (MD5 + b"  a.jpg", {"a.jpg"}),
        (MD5 + b" *a.jpg", {"a.jpg"}),
        (MD5.upper() + b" a.jpg", {"a.jpg"}),
        (MD5 + b"  a.jpg\r", {"a.jpg"}),
        (MD5 + b"\ta.jpg", {"a.jpg"}),
        (b"  " + MD5 + b"  a b.jpg ", {"a b.jpg "}),
        (MD5 + b"  ./sub//a.jpg", {"sub/a.jpg"}),
        (MD5 + b"  sub/../b/./a.jpg", {"b/a.jpg"}),
        (MD5 + b"  ../photos/a.jpg", {"photos/a.jpg"}),
        (MD5 + b"  /srv/photos/a.jpg", {"srv/photos/a.jpg"}),
        (MD5 + b" *sub\\a.jpg", {"sub\\a.jpg", "sub/a.jpg"}),
        (b"\\" + MD5 + b"  a\\\\b\\nc\\rd.jpg", {"a\\b\nc\rd.jpg"}),
        (MD5 + b"   spaced.jpg", {" spaced.jpg", "spaced.jpg"}),
        (b"SHA256 (a (1).jpg) = " + SHA256, {"a (1).jpg"}),
        (b"SHA2-256(a.jpg)= " + SHA256, {"a.jpg"}),
        (b"BLAKE2b-256 (a.jpg) = dGVzdA==", {"a.jpg"}),
        (b"\\MD5 (a\\nb.jpg) = " + MD5, {"a\nb.jpg"}),
        (b"a.jpg 12345678", {"a.jpg"}),
        (b"sub\\a b.JPG   DEADBEEF", {"sub\\a b.jpg", "sub/a b.jpg"}),
        (MD5 + b"  data/100%25%0A.jpg", {"data/100%25%0a.jpg", "data/100%\n.jpg"}),
        (MD5 + "  BÄR.jpg".encode(), {"bär.jpg"}),
        (MD5 + "  Ba\u0308r.jpg".encode(), {"bär.jpg"}),
        (MD5 + b"  \xff.jpg", {"\udcff.jpg"}),
        (MD5, set()),
        (b"", set()),
        (b"; a.jpg 12345678", set()),
        (b"# made by hand", set()),
        (b"<html>404</html>", set()),
    ],
)
def test_a_line_names_what_its_format_says(line: bytes, names: set[str]) -> None:
    assert names_in(line) == names
    assert names_in(b"garbage\n" + line + b"\n\xff\xfe\n") == names


def test_a_list_with_zeros_between_has_no_escapes() -> None:
    assert names_in(MD5 + b"  a\nb.jpg\0" + MD5 + b"  c\\n.jpg\0") == {"a\nb.jpg", "c\\n.jpg", "c/n.jpg"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_with_a_byte_order_mark_is_read(encoding: str) -> None:
    assert names_in(f"{MD5.decode()} *ä.jpg\r\n{MD5.decode()} *b.jpg\r\n".encode(encoding)) == {"ä.jpg", "b.jpg"}


@given(st.binary(max_size=200))
def test_no_content_is_too_odd_to_be_read(content: bytes) -> None:
    assert all(isinstance(name, str) for name in names_in(content))


@pytest.mark.parametrize(
    "content",
    [
        b"a" + b" " * (1 << 20) + b"z",
        b"A(" + b")=" * (1 << 19) + b"x y",
        b"d41d8cd98f00b204e9800998ecf8427e  a" + "\u0301\u0316".encode() * (1 << 18),
        b"d41d8cd98f00b204e9800998ecf8427e  " + b"/".join([b"a" + "\u0301\u0316".encode() * 200] * 1300),
    ],
    ids=["spaces", "parentheses", "accents", "steps"],
)
def test_a_line_as_long_as_the_file_takes_no_hours_and_names_nothing(content: bytes) -> None:
    assert names_in(content) == set()  # each took the square of its length: hours, and all of the daemon stood still


@given(st.binary(max_size=40))
def test_no_name_is_too_odd_to_be_judged(name: bytes) -> None:
    assert is_manifest(name) in (True, False)
    assert subject(name) is None or is_manifest(name)


def coreutils(name: bytes, *, tagged: bool) -> bytes:
    """The line of coreutils for a file (its manual, "cksum output modes")."""
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != name else b""
    return mark + (b"MD5 (" + escaped + b") = " + MD5 if tagged else MD5 + b"  " + escaped)


FILE_NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(st.lists(FILE_NAMES, max_size=5), st.booleans())
def test_what_coreutils_writes_is_read_back(files: list[bytes], tagged: bool) -> None:
    content = b"".join(coreutils(name, tagged=tagged) + b"\n" for name in files)
    assert names_in(content) >= {key(name) for name in files}


def test_a_file_is_named_by_its_path_from_the_manifest_or_from_any_folder_above() -> None:
    folder = b"/srv/Photos"
    for listed in ("sub/a.jpg", "photos/sub/a.jpg", "srv/photos/sub/a.jpg"):
        assert named({listed}, folder, b"sub/A.jpg") == listed
    assert named(names_in(MD5 + b"  /srv/photos/sub/a.jpg"), folder, b"sub/a.jpg")
    assert named(names_in(MD5 + b"  ../photos/sub/a.jpg"), folder, b"sub/a.jpg")


def test_a_file_of_the_same_name_in_another_folder_is_not_named() -> None:
    for listed in ("a.jpg", "other/a.jpg", "photos/a.jpg"):
        assert named({listed}, b"/srv/photos", b"sub/a.jpg") is None
