"""`imgoptd --check`: where originals will be kept."""

from __future__ import annotations

from pathlib import Path

from imgoptd.adapters.inspection import inspect
from imgoptd.config.load import loads
from imgoptd.wire.findings import Finding, Level


def told_of(home: Path) -> list[Finding]:
    text = f'[daemon]\nstate_dir = "{home}/state"\ncontrol = "{home}/control.sock"\n[undo]\nlossless = true\n'
    config = loads(f'{text}[[watch]]\npath = "{home}/drop"\n', home / "imgoptd.toml")
    return [finding for finding in inspect(config) if "originals" in finding.sentence]


def test_where_originals_will_be_kept_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    place = tmp_path / "drop" / ".imgoptd"
    place.parent.mkdir()
    (told,) = told_of(tmp_path)
    assert told.level is Level.OK
    assert f"{place}/undo, " in told.sentence and told.sentence.endswith("free")
    assert not place.exists()
    place.mkdir(mode=0o755)
    (told,) = told_of(tmp_path)
    assert (told.level, told.mend.startswith("move away")) == (Level.WARNING, True)
    assert "copied to state_dir" in told.sentence
