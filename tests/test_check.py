"""`luab-data check`: a whole folder passes, and every kind of damage is named."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from logs import KEY, SHARED, action, archive, block, coco_log, coco_record, luab, tar, xml

import luab_data
from luab_data.checks.check import check
from luab_data.checks.report import CHECKS, MAX_PROBLEMS, Report
from luab_data.cli.datasets import check as command
from luab_data.errors import DatasetError, OptionError
from luab_data.kinds import Browsing
from luab_data.store import folder as store
from luab_data.store import shards

IMAGES, ROUNDS = "data/train-00000-of-00002.parquet", "rounds/train-00000-of-00002.parquet"


def imagenet(base: Path) -> Path:
    """40 images in two shards and several row groups: 0, 1 or 2 rounds, three workers."""
    records = {}
    for i in range(40):
        name = f"n0000000{i % 2 + 1}_{i}"
        blocks = [
            block(submit=1_640_000_000 + k, worker=f"WORKER{(i + k) % 3}", selected=k == i % 3 - 1)
            for k in range(i % 3)
        ]
        records[name] = xml(name, blocks, boxes=[(0, 0, 90, 100)] if i % 2 else None)
    log = archive(base / "raw.tar.gz", records)
    return luab_data.convert_imagenet(log, base / "imagenet-ab", worker_key=KEY).out


def coco(base: Path) -> Path:
    records = [coco_record(i, [action("add", "dog", (0.5, 0.5))]) for i in range(1, 9)]
    log = coco_log(base / "raw.json", records)
    return luab_data.convert_coco(log, base / "coco-ab", worker_key=KEY).out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both datasets, in small shards and row groups."""
    base = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS_PER_GROUP", 28)  # a quarter of it
        patch.setattr(Browsing, "images_per_shard", 20)
        imagenet(base)
        coco(base)
    assert (base / "imagenet-ab" / IMAGES).is_file()
    assert pq.ParquetFile(base / "imagenet-ab" / IMAGES).num_row_groups == 3
    return base


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of the ImageNet-AB folder to damage."""
    return Path(shutil.copytree(whole / "imagenet-ab", tmp_path / "imagenet-ab"))


def problems(report: Report, *checks: str) -> list[str]:
    """What the report says of some checks (all by default), a line a problem."""
    return [
        f"{p.check}: {p.file}: {p.found}; expected {p.expected}. {p.advice}"
        for p in report.problems
        if not checks or p.check in checks
    ]


def failed(report: Report) -> set[str]:
    return {name for name in CHECKS if report.statuses[name] == "failed"}


def reseal(folder: Path, edit: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Checksums that fit again, as somebody who edits a dataset on purpose would make them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("manifest.json", "SHA256SUMS"):
        (folder / name).unlink()
    edit(manifest)
    del manifest["files"]
    store.seal(folder, manifest)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """The same Parquet file with other rows."""
    table = change(pq.read_table(path))
    pq.write_table(table, path, row_group_size=7, write_page_checksum=True)


def with_column(name: str, change: Callable[[list[Any]], list[Any]]) -> Any:
    def changed(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        values = pa.array(change(table[name].to_pylist()), field.type)
        return table.set_column(table.column_names.index(name), field, values)

    return changed


# --- what is whole -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imagenet-ab", "coco-ab"])
def test_a_whole_folder_passes_every_check(whole: Path, name: str):
    report = check(whole / name, shown=False)
    assert report.whole and not report.problems
    assert {name: report.statuses[name] for name in CHECKS} == dict.fromkeys(CHECKS, "ok")
    assert report.num_rows == store.read_manifest(whole / name)["num_rows"]
    assert report.not_linted == 0
    assert all(f.rows == report.num_rows[f.rule.config] for f in report.findings)


def test_a_name_under_the_home_is_found(whole: Path, monkeypatch: Any):
    monkeypatch.setenv("LUAB_DATA_HOME", str(whole))
    assert check("imagenet-ab", rules=["parity"], shown=False).whole


def test_what_the_hub_and_git_add_is_no_stranger(folder: Path):
    for name in (
        *(".gitattributes", ".git/config", ".cache/huggingface/x.lock", "data/.DS_Store"),
        *("data/._train-00000-of-00002.parquet", "Thumbs.db"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    assert check(folder, shown=False).whole


# --- damage --------------------------------------------------------------------------------------


def test_a_flipped_byte_is_found_by_the_page_checksum_and_by_sha256(folder: Path):
    path = folder / ROUNDS
    about = pq.ParquetFile(path).metadata.row_group(1)
    columns = [about.column(i) for i in range(about.num_columns)]
    times = next(c for c in columns if c.path_in_schema.startswith("selected_record_time_ms"))
    data = bytearray(path.read_bytes())
    data[times.data_page_offset + times.total_compressed_size - 3] ^= 1
    path.write_bytes(data)
    report = check(folder, shown=False)
    assert {"checksums", "pages"} <= failed(report) <= {"checksums", "pages"}
    (damage,) = problems(report, "pages")
    assert f"{ROUNDS}: row group 1: damaged in selected_record_time_ms" in damage
    assert "convert the raw log again or copy the folder again" in damage
    assert any(ROUNDS in line and "SHA-256" in line for line in problems(report, "checksums"))
    # The other shard was looked at all the same, and what was not is said.
    assert report.not_linted == 20 and all(f.rows > 0 for f in report.findings)
    assert report.statuses["content"] == "not run"
    assert report.statuses["image-ids"] == report.statuses["values"] == "partly"


def test_a_truncated_file_does_not_hide_damage_elsewhere(folder: Path):
    path = folder / IMAGES
    path.write_bytes(path.read_bytes()[:-100])
    (folder / "data/train-00001-of-00002.parquet").write_bytes(b"PAR1")
    report = check(folder, shown=False)
    lines = problems(report, "pages")
    assert len(lines) == 2 and all("cannot be opened" in line for line in lines)
    assert {"pages", "checksums", "rows"} <= failed(report)
    assert not problems(report, "shards")


def test_a_missing_shard_is_named_once(folder: Path):
    (folder / ROUNDS).unlink()
    report = check(folder, shown=False)
    assert problems(report, "files") == [
        f"files: {ROUNDS}: nothing; expected the file, which the manifest lists."
        " convert the raw log again or copy the folder again"
    ]
    assert failed(report) == {"files", "rows"}
    assert report.not_linted == 20


def test_each_stray_file_and_link_is_one_problem(folder: Path):
    (folder / "data" / "train-00002-of-00003.parquet").write_bytes(b"x")
    shutil.copy(folder / IMAGES, folder / "data" / "train-00000-of-00002 copy.parquet")
    (folder / ".env").write_text("TOKEN=1")
    os.symlink(folder / "data", folder / "more")
    report = check(folder, shown=False)
    assert failed(report) == {"files"}
    assert [p.file for p in report.problems] == [
        *(".env", "data/train-00000-of-00002 copy.parquet", "data/train-00002-of-00003.parquet"),
        "more",
    ]
    assert report.num_rows["default"] == 40


def test_pipes_in_the_place_of_files_are_not_waited_for(folder: Path):
    for name in ("README.md", "SHA256SUMS", IMAGES):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    report = check(folder, shown=False)
    assert {"files", "card", "checksums"} <= failed(report)
    assert len([line for line in problems(report, "files") if "no plain file" in line]) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0" * 64 + "  README.md\n", "no line for data/train-00000-of-00002.parquet"),
        ("what\n", "'what'"),
        (b"\xff", "utf-8"),
    ],
)
def test_edited_checksums_are_compared_with_the_manifest(folder: Path, text: Any, found: str):
    (folder / "SHA256SUMS").write_bytes(text if isinstance(text, bytes) else text.encode())
    report = check(folder, shown=False)
    assert failed(report) == {"checksums"}
    assert any(found in line for line in problems(report))


def card(folder: Path, change: Callable[[str], str]) -> Report:
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8")
    assert change(text) != text
    path.write_text(change(text), encoding="utf-8")
    reseal(folder)
    return check(folder, shown=False)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("num_examples: 40", "num_examples: 41", "num_examples of default is [41]"),
        ("name: final_click_x", "name: final_x", "features of default is"),
        ("data/train-*", "date/train-*", "data_files of default is"),
        ("version: 1.0.", "version: 2.0.", "version of default is"),
        ("n00000002", "n00000003", "class names of label of default is"),
        ("config_name: rounds", "config_name: round", "no config rounds"),
        ("---\n", "+++\n", "no YAML"),
        ("license:", "\tlicense:", "card: README.md"),
    ],
)
def test_a_card_that_says_otherwise_is_found(folder: Path, old: str, new: str, found: str):
    report = card(folder, lambda text: text.replace(old, new))
    assert failed(report) == {"card"}
    assert any(found in line for line in problems(report)), problems(report)


# --- an edited manifest --------------------------------------------------------------------------


def edited(folder: Path, **values: Any) -> Report:
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **values}
    manifest = {key: value for key, value in manifest.items() if value is not Ellipsis}
    path.write_text(json.dumps(manifest))
    return check(folder, shown=False)


@pytest.mark.parametrize(
    ("values", "fails", "found"),
    [
        ({"num_rows": {"default": 41, "rounds": 39, "annotators": 3}}, "rows", "40 rows"),
        (
            {"num_rows": {"default": "40", "rounds": 39, "annotators": 3}},
            "manifest",
            "num_rows: Expected `int`, got `str`",
        ),
        ({"version": "1.0.7"}, "content", "version 1.0.7"),
        ({"content_digest": "0" * 64}, "content", "content_digest 000"),
        ({"classes": ["n00000002", "n00000001"]}, "manifest", "not sorted"),
        ({"classes": ["n00000001", "n00000009"]}, "classes", "label is not its wnid's"),
        ({"schemas": ...}, "manifest", "schemas: Expected `object`, got `null`"),
        ({"worker_ids": {"method": "none"}}, "workers", "no word of how ids were hashed"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "manifest", "'../../etc/passwd'"),
        ({"files": {"README.md": "?"}}, "manifest", "files: Expected `str` matching regex"),
        ({"dataset": "imagenet"}, "manifest", "dataset is 'imagenet'"),
        ({"dataset": ["imagenet-ab"]}, "manifest", "dataset is ['imagenet-ab']"),
        ({"num_rows": {"default": 40, "rounds": 39}}, "manifest", "missing required field"),
        ({"shards": 3}, "manifest", "shards: Expected `object`, got `int`"),
        ({"shards": {"default": [{"digest": "0"}]}}, "content", "values of digest"),
    ],
)
def test_an_edited_manifest_is_found(folder: Path, values: Any, fails: str, found: str):
    report = edited(folder, **values)
    assert fails in failed(report)
    assert any(found in line for line in problems(report, fails)), problems(report)


def test_the_tally_of_records_left_out_is_that_of_the_list(tmp_path: Path):
    log = tar(tmp_path / "raw.tar.gz", [("a/n1_1.xml", xml("n1_1")), ("a/n1_2.xml", b"<")])
    options: Any = {"worker_key": KEY, "on_bad": "skip"}
    folder = luab_data.convert_imagenet(log, tmp_path / "imagenet-ab", **options).out
    assert check(folder, shown=False).whole
    report = edited(folder, skipped={"xml-syntax": 2})
    assert any("skipped is {'xml-syntax': 2}" in line for line in problems(report, "manifest"))
    (folder / "skipped.jsonl").write_text("?")
    assert any("skipped.jsonl" in line for line in problems(check(folder), "manifest"))


def test_a_column_more_or_less_than_the_manifest_says_is_found(folder: Path):
    schemas = json.loads((folder / "manifest.json").read_text())["schemas"]
    del schemas["default"]["hull_area"]
    report = edited(folder, schemas=schemas)
    assert {"schema"} <= failed(report) <= {"schema", "card"}
    assert (
        "column" in problems(report, "schema")[0] and "hull_area" in problems(report, "schema")[0]
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"dataset": 1}'])
def test_without_a_manifest_the_rows_are_checked_all_the_same(folder: Path, text: str):
    (folder / "manifest.json").write_text(text)
    (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:-9])
    report = check(folder, shown=False)
    assert {"manifest", "pages"} <= failed(report)
    assert report.statuses["checksums"] == "not run" and not report.whole
    assert report.dataset == "imagenet-ab"


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"no dataset .*nothing is not there\. Write one"):
        check(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DatasetError, match=r"has no manifest\.json"):
        check(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(DatasetError, match="not a manifest of luab"):
        check(tmp_path)


# --- rows that were edited, with checksums made to fit -------------------------------------------


def second(values: list[Any], value: Any) -> list[Any]:
    return [value if i == 1 else v for i, v in enumerate(values)]


EDITS: list[tuple[str, str, Callable[[list[Any]], list[Any]], set[str], str]] = [
    (IMAGES, "wnid", lambda v: second(v, None), {"values"}, "wnid is null"),
    (IMAGES, "label", lambda v: second(v, 0), {"classes"}, "row 1 (image_id=n00000002_1)"),
    (IMAGES, "image_id", lambda v: second(v, v[0]), {"image-ids", "shards"}, "2 times"),
    (IMAGES, "num_clicks", lambda v: second(v, 9), {"derived"}, "another num_clicks"),
    (IMAGES, "last_n_x", lambda v: second(v, [0.5]), {"values"}, "last_n_y is not as long"),
    (IMAGES, "hull_x", lambda v: second(v, [0.5, 0.5]), {"values"}, "hull_y is not as long"),
    (IMAGES, "has_boxes", lambda v: second(v, False), {"values"}, "has_boxes is not what"),
    (IMAGES, "num_rounds", lambda v: second(v, 2), {"shards"}, "default has it"),
    (ROUNDS, "round", lambda v: second(v, 3), {"values"}, "not numbered in order"),
    (ROUNDS, "hit_submit_time", lambda v: second(v, 9**11), {"values"}, "submitted before"),
    (ROUNDS, "image_id", lambda v: second(v, "n00000001_0"), {"shards"}, "n00000001_0"),
    (ROUNDS, "worker_id", lambda v: second(v, "A1B2C3D4"), {"workers"}, "a worker_id that is no"),
    (
        ROUNDS,
        "worker_id",
        lambda v: second(v, "0" * 16),
        {"workers"},
        "1 workers missing",
    ),
    (
        ROUNDS,
        "selected_record_time_ms",
        lambda v: second(v, [1, 2]),
        {"values"},
        "selected_record_x is not as long",
    ),
    (ROUNDS, "mouse_tracking_time_ms", lambda v: second(v, [None]), {"values"}, "not as long"),
    (
        "annotators/train-00000-of-00001.parquet",
        "worker_id",
        lambda v: second(v, v[0]),
        {"workers"},
        "2 workers in 3 rows",
    ),
]


@pytest.mark.parametrize(
    ("name", "column", "edit", "fails", "found"), EDITS, ids=[f"{e[1]}-{e[4]}" for e in EDITS]
)
def test_edited_rows_are_found_though_every_checksum_fits(
    folder: Path, name: str, column: str, edit: Any, fails: set[str], found: str
):
    rewrite(folder / name, with_column(column, edit))
    reseal(folder)
    report = check(folder, shown=False)
    assert fails <= failed(report)
    assert report.statuses["checksums"] == report.statuses["pages"] == "ok"
    assert "content" in failed(report) or report.statuses["content"] == "not run"
    assert any(found in line for line in problems(report, *fails)), problems(report)
    assert not any("A1B2C3D4" in line for line in problems(report)), "a worker id"


def test_an_edit_that_keeps_every_promise_changes_the_content_digest(folder: Path):
    rewrite(folder / ROUNDS, with_column("estimate_time_ms", lambda v: second(v, 121)))
    reseal(folder)
    report = check(folder, shown=False)
    assert "content" in failed(report) <= {"content", "derived"}
    assert any(line.startswith("content: rounds, shard 0") for line in problems(report))


def test_other_encoding_of_equal_rows_keeps_the_content_digest(folder: Path):
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(path)
        pq.write_table(table, path, compression="snappy", row_group_size=3)
    reseal(folder)
    assert check(folder, shown=False).whole


def test_coco_rows_that_contradict_each_other_are_found(whole: Path, tmp_path: Path):
    name = "data/train-00000-of-00001.parquet"
    for column, value, fails, found in (
        ("icon_label", [5], "classes", "icon_label is not its name's"),
        ("labels", [80], "classes", "labels outside the classes"),
        ("icon_name", [], "values", "icon_name is not as long"),
        ("num_actions", [7], "derived", "another num_actions"),
        ("image_id", 77, "shards", "row of image 2"),
    ):
        folder = tmp_path / column
        shutil.copytree(whole / "coco-ab", folder)
        rewrite(folder / name, with_column(column, lambda v, new=value: second(v, new)))
        reseal(folder)
        report = check(folder, shown=False)
        assert fails in failed(report), column
        assert any(found in line for line in problems(report, fails)), problems(report)


def test_a_shard_too_many_and_swapped_shards_are_found(folder: Path, tmp_path: Path):
    first, last = (folder / "rounds" / f"train-0000{k}-of-00002.parquet" for k in (0, 1))
    last.rename(folder / "x")
    first.rename(last)
    (folder / "x").rename(first)
    reseal(folder)
    report = check(folder, shown=False)
    assert "shards" in failed(report)
    assert report.not_linted == 40
    first.rename(folder / "rounds" / "train-00000-of-00003.parquet")
    reseal(folder)
    lines = problems(check(folder, shown=False), "shards")
    assert any("train-00000-of-N" in line for line in lines)


def test_a_missing_or_retyped_column_is_found_and_the_pages_are_read(folder: Path):
    rewrite(folder / IMAGES, lambda table: table.drop_columns(["hull_area"]))
    label = pa.array([0] * 20, pa.int32())
    rewrite(
        folder / "data/train-00001-of-00002.parquet",
        lambda table: table.set_column(table.column_names.index("label"), "label", label),
    )
    reseal(folder)
    report = check(folder, shown=False)
    lines = problems(report, "schema")
    assert any("hull_area is missing; expected double" in line for line in lines)
    assert any("label is int32; expected int64" in line for line in lines)
    assert report.statuses["pages"] == "ok" and report.not_linted == 40


def test_an_extra_column_is_fine_when_manifest_and_card_have_it(folder: Path):
    for path in sorted((folder / "data").iterdir()):
        rewrite(path, lambda table: table.append_column("extra", table["boxes"]))
    reseal(folder)
    lines = problems(check(folder, shown=False), "schema")
    assert len(lines) == 2 and all("missing, as the manifest has it" in line for line in lines)


@pytest.mark.parametrize("name", ["imagenet-ab", "coco-ab"])
def test_optional_columns_are_checked_like_the_others(whole: Path, tmp_path: Path, name: str):
    from luab_data.derivation import derive

    folder = tmp_path / name
    shutil.copytree(whole / name, folder)
    derive(folder, columns=["notebook_point_x", "notebook_point_y"])
    assert check(folder, shown=False).whole
    path = sorted((folder / "data").iterdir())[0]
    wrong = [9] if name == "coco-ab" else 0.25
    rewrite(path, with_column("notebook_point_x", lambda v: second(v, wrong)))
    reseal(folder)
    report = check(folder, shown=False)
    # COCO's depends on the instances file, so it is not recomputed; its digest is.
    assert failed(report) == ({"content"} if name == "coco-ab" else {"content", "derived"})


def test_problems_of_a_kind_are_counted_but_not_all_kept(folder: Path):
    files = {f"missing/{i}": "0" * 64 for i in range(3 * MAX_PROBLEMS)}
    report = edited(folder, files=files)
    assert len(problems(report, "files")) == MAX_PROBLEMS
    assert report.num_problems["files"] > 3 * MAX_PROBLEMS


# --- the report ----------------------------------------------------------------------------------


def test_a_report_is_a_line_a_table_and_a_frame(whole: Path, folder: Path):
    report = check(whole / "imagenet-ab", rules=["parity", "no-interaction"], shown=False)
    assert re.fullmatch(
        r"Report\(imagenet-ab 1\.0\.\d+: whole; 1 of 2 lint rules found something\)", repr(report)
    )
    frame = report.to_frame()
    assert list(frame["id"]) == [*CHECKS, "parity", "no-interaction"]
    assert set(frame["status"][frame["kind"] == "check"]) == {"ok"}
    row = frame.iloc[-1]
    assert (row["rows"], row["config"]) == (39, "rounds") and row["share"] == row["count"] / 39
    assert "<table>" in report._repr_html_()
    (folder / IMAGES).unlink()
    assert "not whole (files, rows)" in repr(check(folder, shown=False))


def test_sentences_are_wrapped_to_the_width_of_the_terminal(whole: Path):
    report = check(whole / "imagenet-ab", shown=False)
    lines = report.as_text(90).splitlines()
    assert max(map(len, lines[1:])) <= 90 < max(map(len, report.as_text().splitlines()))
    place = next(i for i, line in enumerate(lines) if line.startswith("ok  card"))
    assert lines[place + 1].startswith(" " * 15) and "manifest" in lines[place + 1]


def test_what_was_mended_while_the_log_was_read_is_said(folder: Path):
    report = edited(folder, repaired={"trace-point-dropped": 3, "of-tomorrow": 1})
    assert report.whole and report.as_dict()["repaired"] == {
        "trace-point-dropped": 3,
        "of-tomorrow": 1,
    }
    text = report.as_text()
    assert "trace-point-dropped  3  A trace point without a coordinate" in text
    assert re.search(r"^of-tomorrow +1$", text, re.MULTILINE)
    assert "repaired: Expected" in problems(edited(folder, repaired=[1]), "manifest")[0]


# --- the command ---------------------------------------------------------------------------------


run = partial(luab, "check")


def test_the_command_prints_a_table_and_ends_with_0_though_the_lint_found_something(whole: Path):
    found = run(whole / "imagenet-ab", "--examples", "1")
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert lines[0].startswith(f"{whole / 'imagenet-ab'}: imagenet-ab 1.0.")
    for name in CHECKS:
        assert any(line.split()[:2] == ["ok", name] for line in lines)
    assert "none of this makes the dataset bad" in found.output
    assert "time-far-from-submit" in found.output
    assert "n00000002_1 round 1\n" in found.output
    assert "WORKER" not in found.output


def test_statuses_are_coloured_on_a_terminal_only(whole: Path, folder: Path):
    (folder / ROUNDS).unlink()
    arguments = [str(folder), "--rule", "parity"]
    shown = CliRunner().invoke(command, arguments, color=True).output
    assert "\x1b[31mFAILED\x1b[0m (1)" in shown and "\x1b[32mok\x1b[0m" in shown
    assert "\x1b" not in run(*arguments).output


def test_the_exit_code_says_whether_the_folder_is_whole(whole: Path, folder: Path, tmp_path: Path):
    process = partial(run, "--rule", "parity")
    assert process(whole / "imagenet-ab").exit_code == 0
    (folder / IMAGES).write_bytes(b"")
    found = process(folder)
    assert found.exit_code == 1 and found.stderr == ""
    assert re.search(r"^FAILED \(1\) +pages ", found.stdout, re.MULTILINE)
    assert "to do" in found.stdout and IMAGES in found.stdout
    assert "images could not be looked at" not in found.stdout  # an empty file has no rows
    assert json.loads(process(folder, "--json").stdout)["whole"] is False
    found = process(tmp_path / "nothing")
    assert found.exit_code == 1 and found.stderr.startswith("Error: ") and found.stdout == ""


def test_json_is_one_object_with_the_same_facts(whole: Path):
    found = run(whole / "imagenet-ab", "--json", "--rule", "parity", "--rule", "no-interaction")
    report = json.loads(found.stdout)
    assert report["whole"] is True and report["problems"] == []
    assert [row["rule"] for row in report["lint"]] == ["parity", "no-interaction"]
    assert {row["check"]: row["status"] for row in report["checks"]} == dict.fromkeys(CHECKS, "ok")
    row = report["lint"][0]
    assert row["count"] == len(row["examples"]) or len(row["examples"]) == 3
    assert row["share"] == row["count"] / row["rows"]
    assert set(row["examples"][0]) == {"image_id", "round"}


def test_wrong_options_are_refused(whole: Path):
    with pytest.raises(OptionError, match="examples is -1"):
        check(whole / "imagenet-ab", examples=-1)
    assert run(whole / "imagenet-ab", "--examples", "-1").exit_code == 2
    assert not json.loads(run(whole / "imagenet-ab", "--json", "--examples", "0").stdout)["lint"][
        0
    ]["examples"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_shared_logs_are_whole_and_hold_the_traps_of_the_release(tmp_path: Path):
    raw = SHARED / "data/raw"
    out = luab_data.convert_coco(raw / "coco_ab_tiny.json", tmp_path / "coco", worker_key=KEY).out
    report = check(out, shown=False)
    assert report.whole
    counts = {f.rule.id: f.count for f in report.findings}
    assert counts["zero-size"] == 2 and counts["trace-missing"] == 9
    assert counts["icon-not-shown"] == counts["double-add"] == counts["category-jump"] == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("case", "rules", "repaired"),
    [
        ("real_record", {"width-copies-height": 1}, {}),
        ("minmax_one_of_two", {"box-reversed": 1, "estimate-too-long": 49}, {}),
        ("wholly_outside", {"box-outside-image": 1, "estimate-too-long": 49}, {}),
        ("fn_percent_s", {"estimate-too-long": 49}, {"name-from-path": 2}),
        ("folder_percent_s", {"estimate-too-long": 49}, {"name-from-path": 1}),
    ],
)
def test_the_cases_that_people_have_are_whole_and_what_is_odd_is_said(
    tmp_path: Path, case: str, rules: dict[str, int], repaired: dict[str, int]
):
    log = SHARED / "data" / "cases" / "imagenet-ab" / f"{case}.tar.gz"
    report = check(luab_data.convert_imagenet(log, tmp_path / "out", worker_key=KEY).out)
    assert report.whole and report.repaired == repaired
    assert {f.rule.id: f.count for f in report.findings if f.count} == rules


@pytest.mark.slow
def test_no_flipped_or_cut_byte_goes_unseen_or_stops_the_check(whole: Path, tmp_path: Path):
    """Somewhere in every file: the report is made, and never says that the folder is whole."""
    random = np.random.default_rng(0)
    for number in range(150):
        folder = tmp_path / str(number)
        shutil.copytree(whole / ("imagenet-ab", "coco-ab")[number % 2], folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = files[int(random.integers(len(files)))]
        data = bytearray(path.read_bytes())
        place = int(random.integers(len(data)))
        if number % 3:
            data[place] ^= 1 << int(random.integers(8))
        else:
            del data[place:]
        path.write_bytes(data)
        try:
            report = check(folder, shown=False)
        except DatasetError:
            assert path.name == "manifest.json"
        else:
            # Nothing vouches for every byte of the manifest, such as its versions.
            assert not report.whole or path.name == "manifest.json", (path, place)
        shutil.rmtree(folder)
