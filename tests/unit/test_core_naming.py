"""What results are called: no two sources meet by being converted, and who has a name never depends on the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.naming import EXTENSIONS, claimants, own_place, sibling

names = st.lists(st.sampled_from([b"a", b"sub/b", b"jpg", b"png", b"webp", b"avif"]), min_size=1, max_size=4)
paths = names.map(b".".join)
formats = st.sampled_from(sorted(EXTENSIONS))


def test_a_converted_result_has_the_whole_name_of_its_source_before_the_new_extension() -> None:
    assert sibling(b"x/a.jpg", "webp") == b"x/a.jpg.webp"
    assert sibling(b"x/a.png", "webp") == b"x/a.png.webp"
    assert sibling(b"x/photo", "jpeg") == b"x/photo.jpg"
    assert own_place(b"x/a.jpg") == b"x/a.jpg"


@given(first=paths, second=paths, format_=formats)
def test_two_sources_never_meet_at_one_name_of_one_format(first: bytes, second: bytes, format_: str) -> None:
    assert (sibling(first, format_) == sibling(second, format_)) == (first == second)


@given(source=paths, format_=formats)
def test_a_name_that_is_a_source_itself_belongs_to_that_source(source: bytes, format_: str) -> None:
    target = sibling(source, format_)
    assert claimants(target) == (target, source)


@given(target=paths)
def test_every_claimant_would_be_put_there(target: bytes) -> None:
    first, *others = claimants(target)
    assert own_place(first) == target
    assert all(target in [sibling(other, format_) for format_ in EXTENSIONS] for other in others)


def test_a_file_that_is_called_like_an_extension_alone_is_nobodys_sibling() -> None:
    assert claimants(b"x/.webp") == (b"x/.webp",)
