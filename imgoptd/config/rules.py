"""Which paths of a watched folder are looked at: built-in excludes, then the folder's own exclude and include.

Patterns are shell globs, case-sensitive: `*` and `?` stop at a slash, `**` does not, `[abc]` and `[!abc]` are sets.

- Without a slash a pattern names one component: as `exclude` any folder or file on the way, as `include` the file.
- With a slash it names a path from the watched folder on: `raw/*.jpg`, `**/originals/*`, or `/top.jpg`.
- A slash at the end makes it match folders only: `cache/`.

Excluding a folder excludes all below it. What is excluded cannot be included again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from imgoptd.config.schema import Watch
from imgoptd.config.table import quoted

# What may stand here: no name that somebody would give to a picture or to a folder of them. So each is hidden, begins
# or ends with an odd character, has an extension that no picture has, or is a system's own word (`LOST.DIR`). Left out
# for that: `CVS`, `Originals`, `Cache`, `tmp`, `*.bak`, and the conflict copies of synchronisers, which are pictures.

BUILT_IN_ANYWHERE = (
    # version control
    ".git", ".hg", ".svn", ".bzr", ".jj",
    # what synchronisers keep beside the files: Syncthing, Resilio, Dropbox, Google and Synology Drive, MEGA, GoodSync
    ".stversions", ".stfolder", ".sync", ".dropbox.cache", ".tmp.drivedownload", ".tmp.driveupload",
    ".SynologyWorkingDirectory", ".debris", "_gsdata_",
    # network storage: Synology, QNAP, NetApp, ZFS, Snapper, Samba, Unraid
    "@eaDir", "@tmp", "@sharebin", "#snapshot", "#recycle", ".@__thumb", ".@upload_cache", ".streams", "@Recycle",
    "@Recently-Snapshot", ".snapshot", "~snapshot", ".zfs", ".snapshots", ".recycle", ".Recycle.Bin",
    # waste baskets, thumbnails and caches: freedesktop.org, Android, digiKam
    ".Trash", ".Trash-*", ".trashed-*", ".dtrash", ".thumbnails", ".sh_thumbnails", ".cache", "lost+found", "LOST.DIR",
    # of other systems on a shared disk: macOS, Windows
    ".Trashes", ".TemporaryItems", ".Spotlight-V100", ".fseventsd", ".DocumentRevisions-V100", ".AppleDouble",
    "$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "System Volume Information",
    # what a photo manager holds as its own: Apple Photos, iPhoto, Aperture, Lightroom, Picasa, PhotoPrism
    "*.photoslibrary", "*.photolibrary", "*.aplibrary", "*.lrdata", "*.lrlibrary", ".picasaoriginals", ".photoprism",
    # half-done transfers: rsync --delay-updates and --partial-dir, Safari, Android; and all of our own
    ".~tmp~", ".rsync-partial", "*.download", ".pending-*", ".imgoptd*",
)  # fmt: skip
"""Names of folders (or files) under which nothing is touched."""

BUILT_IN_FILES = (
    # synchronisers while they still write: Syncthing, Nextcloud and ownCloud, Resilio, MEGA, FreeFileSync
    ".syncthing.*.tmp", "~syncthing~*.tmp", ".*.~*", "*.!sync", ".getxfer.*", "*.ffs_tmp",
    # browsers and transfers while they still write: Firefox and KDE, rclone, Chrome, WinSCP, Opera, aria2, lftp,
    # qBittorrent, uTorrent, BitComet, Free Download Manager, Thunder, yt-dlp
    "*.part", "*.partial", "*.crdownload", "*.filepart", "*.tmp", "*.temp", "*.opdownload", "*.aria2",
    "*.lftp-pget-status", "*.!qB", "*.!ut", "*.bc!", "*.fdmdownload", "*.xltd", "*.ytdl",
    ".com.google.Chrome.*", ".org.chromium.Chromium.*",
    # editors and desktops: backups, swap and lock files of vim, Emacs, Kate, GLib, LibreOffice, Microsoft Office
    "*~", ".*.sw?", "4913", ".#*", "#*#", "*.kate-swp", ".goutputstream-*", ".~lock.*#", "~$*",
    # ExifTool while it writes
    "*_exiftool_tmp",
    # removed but still open, on FUSE, NFS and SMB
    ".fuse_hidden*", ".nfs*", ".smbdelete*",
    # companions on other systems; `._a.jpg` holds AppleDouble metadata, not a picture
    "._*", ".DS_Store", "Thumbs.db", "ehthumbs*.db", "desktop.ini",
)  # fmt: skip
"""Names of files alone: a folder may well be called `4913`."""

BUILT_IN_SHAPES = (
    # rsync writes to `.name.ext.XXXXXX`, X alphanumeric (rsync's receiver.c, get_tmpname). An extension is asked for,
    # so that `.holiday.backup` is no temp.
    (".NAME.EXT.XXXXXX", r"\..+\.[A-Za-z0-9]{1,5}\.[A-Za-z0-9]{6}"),
    # the untouched copy that ExifTool leaves, and takes back at -restore_original. An extension is asked for, so that
    # `beach_original` is no such copy.
    ("NAME.EXT_original", r".+\.[A-Za-z0-9]{1,5}_original"),
    # ImageMagick's temps have no extension
    ("magick-RANDOM", r"magick-[A-Za-z0-9_-]{12,}"),
    # a file made by O_TMPFILE is reported under this name until it is linked
    ("#INODE", r"#[0-9]{5,}"),
)
"""What a glob cannot say: the name shown, and the regular expression for the file's name."""


class PathRules:
    """The rules of one watched folder, compiled. Paths are relative to the folder, as in FileRef."""

    def __init__(
        self,
        include: Iterable[str],
        exclude: Iterable[str],
        recursive: bool = True,
        trees_inside: Iterable[bytes] = (),
    ) -> None:
        """`trees_inside`: output trees that lie in the folder, paths below it."""
        self._recursive = recursive
        self._trees = tuple(tree + b"/" for tree in trees_inside)
        own = list(exclude)
        # A pattern that ends with a slash is for folders and is matched without that slash.
        of_folders = [pattern for pattern in own if pattern.endswith("/")]
        of_both = [pattern for pattern in own if not pattern.endswith("/")]
        built_in = _built_in(BUILT_IN_ANYWHERE)
        self._folder = _Matcher([*built_in, *_labelled(of_folders), *_labelled(of_both)])
        shapes = [(f'built-in "{name}"', False, shape) for name, shape in BUILT_IN_SHAPES]
        self._file = _Matcher([*built_in, *_built_in(BUILT_IN_FILES), *shapes, *_labelled(of_both)])
        wanted = list(include)
        self._include = None if "*" in wanted else _Matcher(_labelled(wanted))

    @classmethod
    def of(cls, watch: Watch, former_trees: Iterable[bytes] = ()) -> PathRules:
        """`former_trees`: paths below the folder where trees lay that the configuration does not name any more."""
        return cls(watch.include, watch.exclude, watch.recursive, {*watch.trees_inside, *former_trees})

    def ignores(self, path: bytes) -> str | None:
        """Why the file is not looked at (the pattern that excludes it, and whose it is), or None if it is."""
        parent, slash, _ = path.rpartition(b"/")
        if slash:
            why = self.ignores_dir(parent)
            if why is not None:
                return why
        whole = _text(path)
        name = whole.rpartition("/")[2]
        why = self._file.match(whole, name)
        if why is None and self._include is not None and self._include.match(whole, name) is None:
            return "no pattern of include"
        return why

    def ignores_dir(self, path: bytes) -> str | None:
        """Why nothing below this folder is looked at, or None. The watched folder itself (`b""`) is never ignored."""
        if not path:
            return None
        if not self._recursive:
            return "recursive = false"
        if (path + b"/").startswith(self._trees):
            return "it lies in an output tree"
        upto = ""
        for name in _text(path).split("/"):
            upto = f"{upto}/{name}" if upto else name
            why = self._folder.match(upto, name)
            if why is not None:
                return why
        return None


def _text(path: bytes) -> str:
    # `?` shall match one character, not one byte of it; bytes that are no UTF-8 become one character each.
    return path.decode("utf-8", "surrogateescape")


Rule = tuple[str, bool, str]
"""What is shown, whether the whole path is meant, and the regular expression."""


class _Matcher:
    """Many patterns in two regular expressions: one for the name, one for the whole path. The first match is told."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = list(rules)
        self._names = [label for label, whole, _ in rules if not whole]
        self._paths = [label for label, whole, _ in rules if whole]
        self._name = _either([regex for _, whole, regex in rules if not whole])
        self._path = _either([regex for _, whole, regex in rules if whole])

    def match(self, path: str, name: str) -> str | None:
        for regex, subject, labels in ((self._name, name, self._names), (self._path, path, self._paths)):
            found = regex.fullmatch(subject) if regex is not None else None
            if found is not None and found.lastindex is not None:
                return labels[found.lastindex - 1]
        return None


def _either(regexes: list[str]) -> re.Pattern[str] | None:
    # DOTALL: a name may hold a newline. Each pattern is one group, none has groups inside, so lastindex names it.
    return re.compile("|".join(f"({regex})" for regex in regexes), re.DOTALL) if regexes else None


def _built_in(patterns: Iterable[str]) -> list[Rule]:
    return [(f'built-in "{pattern}"', False, glob_to_regex(pattern)) for pattern in patterns]


def _labelled(patterns: Iterable[str]) -> list[Rule]:
    rules = []
    for pattern in patterns:
        bare = pattern.rstrip("/")
        rules.append((quoted(pattern), "/" in bare, glob_to_regex(bare.lstrip("/"))))
    return rules


def glob_to_regex(pattern: str) -> str:
    """The regular expression, without groups, of a glob. A `[` that is never closed stands for itself."""
    regex = ""
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            regex, at = regex + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            regex, at = regex + ".*", at + 2
        elif pattern[at] == "*":
            regex, at = regex + "[^/]*", at + 1
        elif pattern[at] == "?":
            regex, at = regex + "[^/]", at + 1
        else:
            one, at = _set_or_literal(pattern, at)
            regex += one
    return regex


def _set_or_literal(pattern: str, at: int) -> tuple[str, int]:
    """The regular expression of what stands at `at`, and where to go on."""
    literal = re.escape(pattern[at]), at + 1
    if pattern[at] != "[":
        return literal
    negated = pattern.startswith("!", at + 1)
    start = at + 2 if negated else at + 1
    end = pattern.find("]", start + 1)  # a "]" right at the start belongs to the set
    if end < 0 or "/" in pattern[start:end]:
        return literal
    # All but the range's "-" is escaped; a dash beside a dash, too: re warns of "--" as a future set operation.
    inside = "".join(one if one == "-" else re.escape(one) for one in pattern[start:end]).replace("--", r"-\-")
    regex = f"[^/{inside}]" if negated else f"[{inside}]"
    try:
        re.compile(regex)
    except re.error:  # a range the wrong way round, such as [z-a]
        return literal
    return regex, end + 1
