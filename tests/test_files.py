"""The one door to the disk: whole or not there, and nothing of anybody else's is replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from luab_data import files
from luab_data.errors import OutputError
from luab_data.files import MARKER, files_in, foreign_files, is_noise, new_file, new_folder

MARK = b"worker_id,score"


def write(out: Path, content: bytes = MARK + b"\n1,2\n", *, force: bool = False) -> bool:
    with new_file(out, mark=MARK, force=force) as target:
        target.path.write_bytes(content)
    return target.same


def fill(out: Path, content: str = "one", *, by: str = "report", force: bool = False, **more):
    with new_folder(out, by=by, force=force, **more) as target:
        if not target.same:
            (target.path / "deep").mkdir()
            (target.path / "deep" / "index.html").write_text(content)
    return target.same


def test_droppings_of_desktops_and_git_are_noise_and_other_files_are_not():
    noise = (
        *(".DS_Store", "data/._a.parquet", "data/Thumbs.db", "desktop.ini", "Icon\r"),
        *("__MACOSX/x/y", ".ipynb_checkpoints/a.ipynb", ".git/config", ".gitattributes"),
        ".cache/huggingface/x",
    )
    others = (".env", "notes.txt", "data/x copy.parquet", "data/.git/config", "DS_Store", "a._b")
    assert [*filter(is_noise, (*noise, *others))] == [*noise]


def test_foreign_is_what_is_neither_ours_nor_noise(tmp_path: Path):
    for name in ("ours.parquet", ".DS_Store", ".env"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path)  # listed, not followed
    assert files_in(tmp_path) == [".env", "link", "ours.parquet"]
    assert foreign_files(tmp_path, {"ours.parquet"}) == [".env", "link"]


def test_a_file_of_ours_is_replaced_with_force_only(tmp_path: Path):
    out = tmp_path / "new" / "workers.csv"
    assert not write(out)
    assert write(out)  # the same job again
    with pytest.raises(OutputError, match=r"with other content; replace it with --force"):
        write(out, MARK + b"\n3,4\n")
    assert out.read_bytes() == MARK + b"\n1,2\n"
    assert not write(out, MARK + b"\n3,4\n", force=True)
    assert out.read_bytes() == MARK + b"\n3,4\n"
    assert [path.name for path in out.parent.iterdir()] == ["workers.csv"]


def test_a_file_of_somebody_else_is_never_replaced(tmp_path: Path):
    out = tmp_path / "thesis.csv"
    out.write_text("chapter,words\n")
    with pytest.raises(OutputError, match="this verb did not write it"):
        write(out, force=True)
    assert out.read_text() == "chapter,words\n"
    with pytest.raises(OutputError, match="is a folder"):
        write(tmp_path, force=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="no plain file"):
        write(tmp_path / "pipe", force=True)


def test_the_mark_may_stand_at_either_end(tmp_path: Path):
    for content in (MARK + bytes(2**18), bytes(2**18) + MARK):
        (tmp_path / "a").write_bytes(content)
        write(tmp_path / "a", force=True)
    (tmp_path / "a").write_bytes(bytes(2**17) + MARK + bytes(2**17))
    with pytest.raises(OutputError, match="did not write it"):
        write(tmp_path / "a", force=True)


def test_a_file_without_a_mark_is_never_replaced_but_may_be_the_same(tmp_path: Path):
    def simulate(content: bytes) -> bool:
        with new_file(tmp_path / "raw.json", mark=None, force=True) as target:
            target.path.write_bytes(content)
        return target.same

    assert not simulate(b"[1]") and simulate(b"[1]")
    with pytest.raises(OutputError, match="other content; remove it or choose"):
        simulate(b"[2]")


def test_an_empty_file_and_an_empty_folder_hold_nothing_to_lose(tmp_path: Path):
    (tmp_path / "empty").touch()
    write(tmp_path / "empty")
    (tmp_path / "folder").mkdir()
    fill(tmp_path / "folder")


def test_a_folder_of_ours_is_replaced_with_force_only(tmp_path: Path):
    out = tmp_path / "report"
    assert not fill(out) and fill(out)
    with pytest.raises(OutputError, match="other content; replace it with --force"):
        fill(out, "two")
    (out / ".DS_Store").touch()
    assert fill(out)  # a desktop's dropping makes no difference
    assert not fill(out, "two", force=True)
    assert files_in(out) == [MARKER, "deep/index.html"]
    told = json.loads((out / MARKER).read_text())
    assert told["written_by"] == "report" and list(told["files"]) == ["deep/index.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_with_files_of_somebody_else_is_never_replaced(tmp_path: Path):
    out = tmp_path / "report"
    out.mkdir()
    (out / "notes.txt").touch()
    with pytest.raises(OutputError, match="luab did not write it"):
        fill(out, force=True)
    (out / "notes.txt").unlink()
    fill(out)
    for name in (".env", ".git"):
        (out / name).mkdir() if name == ".git" else (out / name).touch()
        with pytest.raises(OutputError, match=rf"luab did not write: \{name}"):
            fill(out, "two", force=True)
        (out / name).rmdir() if name == ".git" else (out / name).unlink()
    with pytest.raises(OutputError, match="holds a report, no export"):
        fill(out, by="export", force=True)


def test_with_settings_the_same_job_is_told_before_it_is_done(tmp_path: Path):
    out, settings = tmp_path / "export", {"format": "webdataset", "classes": ["n01"]}
    assert not fill(out, settings=settings)
    with new_folder(out, by="report", settings=settings) as target:
        assert target.same
    with pytest.raises(OutputError, match="--force"), new_folder(out, by="report", settings={}):
        raise AssertionError("refused before the work")
    (out / "deep" / "index.html").write_text("damaged")
    with pytest.raises(OutputError, match="--force"):
        fill(out, settings=settings)
    assert not fill(out, settings=settings, force=True)


def test_nothing_is_written_into_a_folder_of_ours(tmp_path: Path):
    fill(tmp_path / "report")
    with pytest.raises(OutputError, match="lies inside the report"):
        write(tmp_path / "report" / "sub" / "workers.csv")
    with pytest.raises(OutputError, match="lies inside the report"):
        fill(tmp_path / "report" / "sub")
    assert files_in(tmp_path / "report") == [MARKER, "deep/index.html"]


def test_an_error_leaves_what_was_there_and_no_parents(tmp_path: Path):
    fill(tmp_path / "report")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "report", by="report", force=True):
        raise RuntimeError
    assert (tmp_path / "report" / "deep" / "index.html").read_text() == "one"
    with pytest.raises(RuntimeError), new_file(tmp_path / "a" / "b" / "c", mark=None):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_kill_between_the_two_renames_is_put_right_by_the_next_run(tmp_path: Path):
    fill(tmp_path / "report")
    (tmp_path / "report").rename(tmp_path / ".report.old")
    assert fill(tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "there")
    fill(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and fill(tmp_path / "there")


def test_two_processes_do_not_write_one_target(tmp_path: Path):
    with new_file(tmp_path / "a", mark=MARK) as target:
        target.path.touch()
        with pytest.raises(OutputError, match="another process"):
            write(tmp_path / "a")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where no file can be made")
def test_where_no_file_can_be_made_nobody_else_is_blamed():
    for attempt in (fill, write):
        with pytest.raises(OutputError, match=r"^/proc/x: cannot be written \(No such file"):
            attempt(Path("/proc/x"))


def test_the_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    for out in (".", ".."):
        with pytest.raises(OutputError, match="cannot be replaced as a whole"):
            fill(Path(out))


def test_write_whole_replaces(tmp_path: Path):
    files.write_whole(tmp_path / "recipe.json", b"1")
    files.write_whole(tmp_path / "recipe.json", b"2")
    assert (tmp_path / "recipe.json").read_bytes() == b"2"
    with pytest.raises(OutputError, match="cannot be written"):
        files.write_whole(tmp_path / "none" / "recipe.json", b"")


def test_a_folder_of_somebody_else_in_the_place_of_ours_old_one_stays(tmp_path: Path):
    fill(tmp_path / "report")
    (tmp_path / ".report.old").mkdir()
    (tmp_path / ".report.old" / "diary.txt").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        fill(tmp_path / "report", "two", force=True)
    assert (tmp_path / ".report.old" / "diary.txt").is_file()
    assert (tmp_path / "report" / "deep" / "index.html").read_text() == "one"
