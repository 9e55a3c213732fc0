import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.config.rules import PathRules, glob_to_regex
from imgoptd.config.schema import Watch

BUILT_IN = PathRules(["*"], [])


@pytest.mark.parametrize(
    "path",
    [
        b".git/objects/a.png",
        b"a/.hg/b.png",
        b".svn",
        b"2024/@eaDir/a.jpg",
        b".thumbnails/large/x.png",
        b".stversions/a.jpg",
        b".stfolder/x",
        b"#snapshot/daily/a.jpg",
        b"#recycle/a.jpg",
        b".snapshots/1/a.jpg",
        b".Trash/a.jpg",
        b".Trash-1000/files/a.jpg",
        b".trashed-1700000000-a.jpg",
        b"lost+found/#123",
        b".imgoptd-0123456789abcdef.tmp",
        b"a/.imgoptd-undo/x",
        b".~tmp~/a.jpg",
        b"a.jpg.download/a.jpg",
        b".syncthing.a.jpg.tmp",
        b"~syncthing~a.jpg.tmp",
        b".a.jpg.Xy12Zz",
        b"a.jpg.part",
        b"a.jpg.partial",
        b"a.jpg.crdownload",
        b"a.jpg.filepart",
        b"a.tmp",
        b".com.google.Chrome.Ab12Cd",
        b"a.jpg~",
        b".a.jpg.swp",
        b"4913",
        b".goutputstream-AB12CD",
        b"#12345",
        b"#1234567890",
        b".fuse_hidden0001",
        b".nfs0001",
        b".~lock.a.odt#",
        b"._a.jpg",
        b".DS_Store",
        b"Thumbs.db",
        b"line\nbreak.jpg.part",
        b".bzr/a.png",
        b".jj/a.png",
        b".sync/Archive/a.jpg",
        b".dropbox.cache/2024-01-01/a.jpg",
        b".tmp.drivedownload/1",
        b".tmp.driveupload/1",
        b".SynologyWorkingDirectory/a.jpg",
        b".debris/2024/a.jpg",
        b"_gsdata_/_saved_/a.jpg",
        b"@tmp/a.jpg",
        b"@sharebin/a.jpg",
        b"2024/.@__thumb/default_a.jpg",
        b".@upload_cache/tmp-1",
        b".streams/a.jpg",
        b"@Recycle/a.jpg",
        b"@Recently-Snapshot/1/a.jpg",
        b".snapshot/hourly.0/a.jpg",
        b"~snapshot/hourly.0/a.jpg",
        b".zfs/snapshot/1/a.jpg",
        b".recycle/user/a.jpg",
        b".Recycle.Bin/a.jpg",
        b".dtrash/files/a.jpg",
        b"2024/.sh_thumbnails/normal/a.png",
        b".cache/thumbnails/x.png",
        b"LOST.DIR/1.jpg",
        b".Trashes/501/a.jpg",
        b".TemporaryItems/a.jpg",
        b".Spotlight-V100/a",
        b".fseventsd/1",
        b".DocumentRevisions-V100/a.jpg",
        b".AppleDouble/a.jpg",
        b"$RECYCLE.BIN/S-1-5/$R1.jpg",
        b"$Recycle.Bin/S-1-5/$R1.jpg",
        b"RECYCLER/S-1-5/Dc1.jpg",
        b"System Volume Information/a",
        b"My.photoslibrary/originals/a.jpg",
        b"My.photolibrary/Masters/a.jpg",
        b"My.aplibrary/Masters/a.jpg",
        b"My Previews.lrdata/a",
        b"My.lrlibrary/a.jpg",
        b"2010/.picasaoriginals/a.jpg",
        b".photoprism/a.jpg",
        b".rsync-partial/a.jpg",
        b".pending-1700000000-IMG_1.jpg",
        b".a.jpg.~1a2b3c",
        b"a.jpg.!sync",
        b".getxfer.0.1.mega",
        b"a.jpg.ffs_tmp",
        b"a.jpg.1a2b3c4d.partial",
        b"a.temp",
        b"a.jpg.opdownload",
        b"a.jpg.aria2",
        b"a.jpg.lftp-pget-status",
        b"a.jpg.!qB",
        b"a.jpg.!ut",
        b"a.jpg.bc!",
        b"a.jpg.fdmdownload",
        b"a.jpg.xltd",
        b"a.jpg.ytdl",
        b".#a.jpg",
        b"#a.jpg#",
        b".a.svg.kate-swp",
        b"~$album.docx",
        b"a.jpg_exiftool_tmp",
        b"a.jpg_original",
        b"magick-8zCjHn2pQxK1",
        b".smbdeleteAAA4f2",
        b"ehthumbs_vista.db",
        b"desktop.ini",
        b"\xff\xfe.part",
    ],
)
def test_what_is_no_finished_image_of_the_user_is_ignored(path: bytes) -> None:
    why = BUILT_IN.ignores(path)
    assert why is not None
    assert why.startswith("built-in ")


@pytest.mark.parametrize(
    "path",
    [
        b"a.jpg",
        b"2024/summer/a.jpg",
        b"4913/a.jpg",
        b"old~/a.jpg",
        b"x.tmp/a.jpg",
        b".hidden.jpg",
        b".holiday.backup",
        b"#1234.jpg",
        b"#12",
        b"a.jpg.AbC123",
        b"git/a.jpg",
        b".gitignore",
        b"a.GIT",
        b"line\nbreak.jpg",
        b"\xff\xfe.jpg",
        b"part",
        b"imgoptd.png",
        b"CVS/a.jpg",
        b"Originals/a.jpg",
        b"Cache/a.jpg",
        b"tmp/a.jpg",
        b"snapshot/a.jpg",
        b"Recycle/a.jpg",
        b"sync/a.jpg",
        b"a.bak",
        b"a_conflict-20240101.jpg",
        b"a (SFConflict).jpg",
        b"a.sync-conflict-20240101.jpg",
        b"beach_original.jpg",
        b"beach_original",
        b"magick-show-2024.jpg",
        b"magick-show",
        b"#summer#2024.jpg",
        b"#1.jpg",
        b"~a.jpg",
        b"$1.jpg",
        b"pending-1.jpg",
        b"IMG_1.JPG",
        b"DSC00001.ARW",
    ],
)
def test_what_only_looks_alike_is_not_ignored(path: bytes) -> None:
    assert BUILT_IN.ignores(path) is None


def test_the_reason_names_the_pattern_and_whose_it_is() -> None:
    rules = PathRules(["*"], ["raw/*"])
    assert rules.ignores(b".git/a.png") == 'built-in ".git"'
    assert rules.ignores(b".a.jpg.Xy12Zz") == 'built-in ".NAME.EXT.XXXXXX"'
    assert rules.ignores(b"raw/a.jpg") == '"raw/*"'
    assert PathRules(["*.png"], []).ignores(b"a.jpg") == "no pattern of include"


@pytest.mark.parametrize(
    ("pattern", "ignored", "kept"),
    [
        ("raw", [b"raw", b"raw/a.jpg", b"x/raw/y/a.jpg"], [b"raws/a.jpg", b"a.raw", b"RAW/a.jpg"]),
        ("*.gif", [b"a.gif", b"x/a.gif", b"x.gif/a.jpg"], [b"a.GIF", b"gif"]),
        ("cache/", [b"cache/a.jpg", b"x/cache/a.jpg"], [b"cache", b"x/cache"]),
        ("a/b", [b"a/b", b"a/b/c.jpg", b"a/b/c/d.jpg"], [b"x/a/b/c.jpg", b"a/bc/d.jpg", b"b/a.jpg"]),
        ("/top.jpg", [b"top.jpg"], [b"x/top.jpg"]),
        ("a/*.jpg", [b"a/x.jpg", b"a/x.jpg/y.png"], [b"a/b/x.jpg", b"a/x.png"]),
        ("**/orig/*", [b"orig/x.jpg", b"a/b/orig/x.jpg", b"orig/a/x.jpg"], [b"orig", b"original/x.jpg"]),
        ("a/**/z.jpg", [b"a/z.jpg", b"a/b/c/z.jpg"], [b"z.jpg", b"b/a/z.jpg"]),
        ("a/**", [b"a/x", b"a/b/c"], [b"a", b"ab/c"]),
        ("?.jpg", [b"a.jpg", "ä.jpg".encode(), b"\xff.jpg"], [b"ab.jpg", b".jpg", b"\xff\xff.jpg"]),
        ("[a-c]1", [b"a1", b"c1"], [b"d1", b"-1"]),
        ("[!ä]1", [b"a1", b"\xff1"], ["ä1".encode(), b"1"]),
        ("[]^\\]", [b"]", b"^", b"\\"], [b"a", b"[]^\\]"]),
        ("[z-a]", [b"[z-a]"], [b"b", b"z"]),
        ("[open", [b"[open"], [b"o"]),
        ("(a|b).+$", [b"(a|b).+$"], [b"a.x", b"a"]),
    ],
)
def test_a_pattern_excludes_what_it_names_and_nothing_else(
    pattern: str, ignored: list[bytes], kept: list[bytes]
) -> None:
    rules = PathRules(["*"], [pattern])
    assert [path for path in ignored if rules.ignores(path) is None] == []
    assert [path for path in kept if rules.ignores(path) is not None] == []


def test_an_excluded_folder_needs_no_walk() -> None:
    rules = PathRules(["*.jpg"], ["cache/", "a/b"])
    assert rules.ignores_dir(b"x/cache") == '"cache/"'
    assert rules.ignores_dir(b"a/b/c") == '"a/b"'
    assert rules.ignores_dir(b"x/.git") == 'built-in ".git"'
    assert rules.ignores_dir(b"x/y") is None
    assert rules.ignores_dir(b"") is None


def test_include_looks_at_the_name_of_the_file_or_at_its_whole_path() -> None:
    by_name = PathRules(["*.jpg", "*.png"], [])
    assert by_name.ignores(b"x/a.png") is None
    assert by_name.ignores(b"x.jpg/a.gif") is not None
    by_path = PathRules(["in/*.jpg"], [])
    assert by_path.ignores(b"in/a.jpg") is None
    assert by_path.ignores(b"out/a.jpg") is not None


def test_what_is_excluded_cannot_be_included_again() -> None:
    assert PathRules(["*", ".git"], ["a*"]).ignores(b"a.jpg") == '"a*"'
    assert PathRules([".git"], []).ignores(b".git") == 'built-in ".git"'


def test_below_a_folder_that_is_not_recursive_nothing_is_looked_at() -> None:
    rules = PathRules.of(Watch(path=b"/srv/a", recursive=False))
    assert rules.ignores(b"a.jpg") is None
    assert rules.ignores(b"x/a.jpg") == rules.ignores_dir(b"x") == "recursive = false"


@given(st.text(st.sampled_from("ab*?[]!-^\\/.&|~(){}é"), max_size=12))
def test_every_glob_compiles_without_a_warning(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert re.compile(f"({glob_to_regex(pattern)})").groups == 1


@given(st.text(st.characters(exclude_characters="*?["), min_size=1))
def test_a_glob_without_special_characters_matches_itself_alone(pattern: str) -> None:
    regex = re.compile(glob_to_regex(pattern), re.DOTALL)
    assert regex.fullmatch(pattern)
    assert not regex.fullmatch(pattern + "x")


@given(st.binary(min_size=1).filter(lambda path: b"\0" not in path))
def test_no_bytes_of_a_path_are_too_odd_for_the_rules(path: bytes) -> None:
    rules = PathRules(["*"], ["x/**", "?"])
    assert rules.ignores(path) is None or isinstance(rules.ignores(path), str)
    assert rules.ignores_dir(path) is None or isinstance(rules.ignores_dir(path), str)


def test_what_lies_in_an_output_tree_is_ignored_and_what_is_called_like_it_is_not() -> None:
    rules = PathRules(["*"], [], trees_inside=[b"small", b"a/out"])
    for path in (b"small/a.jpg", b"small/x/a.jpg", b"a/out/b.png"):
        assert rules.ignores(path) == "it lies in an output tree"
    for path in (b"small.jpg", b"smaller/a.jpg", b"x/small/a.jpg", b"a/a.jpg", b"out/b.png"):
        assert rules.ignores(path) is None
    assert rules.ignores_dir(b"small") == "it lies in an output tree"
