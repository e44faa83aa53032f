"""Files that are whole or not there, also after a power cut."""

import os

import pytest

from oceanvar.files.writing import written_aside


def test_what_was_there_stays_until_the_new_file_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    seen = []

    def noting(stream):
        seen.append((os.path.basename(os.readlink(f"/proc/self/fd/{stream}")), path.read_text()))

    monkeypatch.setattr(os, "fsync", noting)
    with written_aside(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert seen == [(aside.name, "old"), (tmp_path.name, "new")], "its data before its name, then the name"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half():
        with written_aside(path) as aside:
            aside.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_two_writers_do_not_meet(tmp_path):
    with written_aside(tmp_path / "file") as first, written_aside(tmp_path / "file") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "file").read_text() == "first", "the last to end"
