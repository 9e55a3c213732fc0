"""What the documents say is so: examples load, commands exist, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import imgoptd
from imgoptd.cli.imgoptctl import COMMANDS
from imgoptd.config import load
from imgoptd.config.schema import DaemonSection, Watch, WorkersSection

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])


def blocks(document: Path, language: str) -> Iterator[str]:
    """The fenced blocks of that language."""
    return (match[1] for match in re.finditer(rf"^```{language}\n(.*?)^```", document.read_text(), re.M | re.S))


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_the_readme_shows_every_key_of_this_version_with_its_default() -> None:
    (example,) = blocks(PROJECT / "README.md", "toml")
    config = load.loads(example, PROJECT / "README.md")

    assert config.daemon == DaemonSection()
    assert config.workers == WorkersSection()
    assert config.watches == (Watch(path=b"/srv/photos"),)


@pytest.mark.parametrize("name", ["imgoptd.toml", "demo.toml"])
def test_a_shipped_configuration_loads_once_it_names_a_folder(name: str) -> None:
    path = PROJECT / "config" / name
    text = path.read_text()
    if not re.search(r"^\[\[watch\]\]", text, re.M):
        text += '\n[[watch]]\npath = "/srv/photos"\n'

    assert load.loads(text, path).watches


def test_links_lead_to_files_that_are_there(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_command_of_dev_that_is_named_exists(document: Path) -> None:
    usage = subprocess.run([PROJECT / "dev", "help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  ([a-z-]+)", usage, re.M))
    named = set(re.findall(r"\./dev ([a-z][a-z-]*)", document.read_text()))

    assert named - known == set()


def test_every_command_of_imgoptctl_that_is_named_exists(document: Path) -> None:
    code = "\n".join([*re.findall(r"`([^`\n]+)`", document.read_text()), *blocks(document, "sh")])
    named = set(re.findall(r"\bimgoptctl (?:--[a-z]+ [^ ]+ )?([a-z]+)\b", code))

    assert named - set(COMMANDS) == set()


def test_the_map_of_the_rooms_names_every_module_and_no_other() -> None:
    _, _, text = (PROJECT / "ARCHITECTURE.md").read_text().partition("## Rooms")
    text, _, _ = text.partition("\n## ")
    there = [path for path in (PROJECT / "imgoptd").glob("*/*.py") if path.name != "__init__.py"]
    rooms = {path.parent.name for path in there}
    # A folder's modules stand between its own name at the beginning of a sentence and the next one's.
    parts = re.split(r"`([a-z]+)/`:", text)
    named = {folder: re.findall(r"`([a-z_*]+)`", part) for folder, part in zip(parts[1::2], parts[2::2], strict=True)}

    assert named.keys() <= rooms
    for path in there:
        assert any(fnmatch(path.stem, name) for name in named[path.parent.name]), path
    for folder, names in named.items():
        assert [name for name in names if not list((PROJECT / "imgoptd" / folder).glob(f"{name}.py"))] == []


def test_an_unknown_command_of_dev_is_refused_with_the_usage() -> None:
    result = subprocess.run([PROJECT / "dev", "tset"], capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "no such command: tset" in result.stderr
    assert "usage: ./dev COMMAND" in result.stderr


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"\n## {imgoptd.__version__} " in (PROJECT / "CHANGELOG.md").read_text()
