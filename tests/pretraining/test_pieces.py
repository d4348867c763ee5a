"""A folder cut into pieces comes back whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetune.errors import UserError
from codetune.pretraining.pieces import LIST, cut, join, main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "model"
    (home / "below").mkdir(parents=True)
    (home / "weights").write_bytes(bytes(range(256)) * 41)
    (home / "empty").write_bytes(b"")
    (home / "below" / "card.md").write_text("# A card\n")
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_cut_is_joined(folder: Path, tmp_path: Path) -> None:
    made = cut(folder, tmp_path / "pieces", most_bytes=1000)
    assert len(made) == 11 + 1  # 10,496 bytes of weights and nine of the card, and the list
    assert max(path.stat().st_size for path in made if path.name != LIST) == 1000
    old = tmp_path / "joined"
    old.mkdir()
    (old / "of-an-older-model").write_text("x")
    assert join(tmp_path / "pieces", old) == ["below/card.md", "empty", "weights"]
    assert contents(old) == contents(folder)


def test_a_flipped_byte_is_refused(folder: Path, tmp_path: Path) -> None:
    pieces = cut(folder, tmp_path / "pieces", most_bytes=1000)
    victim = pieces[5]
    raw = bytearray(victim.read_bytes())
    raw[500] ^= 1
    victim.write_bytes(raw)
    with pytest.raises(UserError, match=rf"not what was cut \({victim.name}\); fetch them again"):
        join(tmp_path / "pieces", tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_missing_pieces_are_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = cut(folder, tmp_path / "pieces", most_bytes=1000)
    for lost in (pieces[2], pieces[4]):
        lost.unlink()
    assert main(["join", str(tmp_path / "pieces"), str(tmp_path / "joined")]) == 2
    assert f"2 of 11 pieces are missing ({pieces[2].name}, {pieces[4].name})" in capsys.readouterr().err
    (tmp_path / "pieces" / LIST).unlink()
    with pytest.raises(UserError, match=r"has no pieces\.json"):
        join(tmp_path / "pieces", tmp_path / "joined")


def test_a_file_of_other_bytes_than_the_list_says_is_refused(folder: Path, tmp_path: Path) -> None:
    cut(folder, tmp_path / "pieces")
    path = tmp_path / "pieces" / LIST
    path.write_text(path.read_text().replace('"bytes": 9,', '"bytes": 8,'))
    with pytest.raises(UserError, match=r"below/card\.md is not what was cut, though its pieces are"):
        join(tmp_path / "pieces", tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_list_that_leads_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    cut(folder, tmp_path / "pieces")
    path = tmp_path / "pieces" / LIST
    path.write_text(path.read_text().replace('"weights"', '"../weights"'))
    with pytest.raises(UserError, match="outside of the folder"):
        join(tmp_path / "pieces", tmp_path / "joined")


def test_nothing_to_cut(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no files to cut"):
        cut(tmp_path, tmp_path / "pieces")
