from __future__ import annotations

import json
import operator
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from loading_world import RELEASES, configs_of, environment, make_datasets, true_rows
from logs import luab

import luab_data
from luab_data.cli import main
from luab_data.cli.datasets import where
from luab_data.errors import DatasetError, OptionError
from luab_data.files import MANIFEST, sha256_of
from luab_data.kinds import KINDS, kind_of
from luab_data.schema import COCO_CLASSES
from luab_data.store.folder import parquet_files, read_columns, read_manifest
from luab_data.store.load import find_dataset, load_dataset, read_table

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CLICKS = ["label", "final_click_x", "final_click_y"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds imagenet-ab/ and coco-ab/; not to be changed."""
    return make_datasets(tmp_path_factory.mktemp("loading") / "world")


@pytest.fixture
def copied(world: Path, tmp_path: Path) -> Path:
    """A copy of imagenet-ab to spoil."""
    return Path(shutil.copytree(world / "imagenet-ab", tmp_path / "imagenet-ab"))


def image_rows(folder: Path) -> list[dict[str, Any]]:
    return true_rows(folder, configs_of(folder)["default"])


def every_config() -> list[tuple[str, str]]:
    return [(name, table.config) for name, kind in KINDS.items() for table in kind.tables]


# --- which folder --------------------------------------------------------------------------------


def test_a_name_is_a_path_or_stands_under_the_home(world: Path, monkeypatch: Any, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUAB_DATA_HOME", str(world))
    assert find_dataset("coco-ab") == world / "coco-ab"
    assert find_dataset(world / "imagenet-ab") == world / "imagenet-ab"
    monkeypatch.setenv("HOME", str(world.parent))
    monkeypatch.setenv("LUAB_DATA_HOME", "~/world")
    assert find_dataset("coco-ab") == world / "coco-ab"
    assert find_dataset("~/world/coco-ab") == world / "coco-ab"
    monkeypatch.setenv("LUAB_DATA_HOME", "")
    with pytest.raises(DatasetError, match=r"no dataset 'coco-ab': coco-ab is not there\. Write"):
        find_dataset("coco-ab")


def test_a_path_comes_before_the_home(copied: Path, world: Path, monkeypatch: Any):
    monkeypatch.chdir(copied.parent)
    monkeypatch.setenv("LUAB_DATA_HOME", str(world))
    assert find_dataset("imagenet-ab").resolve() == copied


def test_the_error_says_what_was_found_in_each_place(copied: Path, monkeypatch: Any):
    (copied / MANIFEST).unlink()
    home = copied.parent / "home"
    (home / ".imagenet-ab.old").mkdir(parents=True)
    (home / ".imagenet-ab.old" / MANIFEST).write_text("{}")
    (home / "file").write_text("")
    monkeypatch.chdir(copied.parent)
    monkeypatch.setenv("LUAB_DATA_HOME", str(home))
    with pytest.raises(DatasetError) as caught:
        find_dataset("imagenet-ab")
    assert f"imagenet-ab has no {MANIFEST}" in str(caught.value)
    assert f"{home}/imagenet-ab is not there, but an interrupted conversion" in str(caught.value)
    with pytest.raises(DatasetError, match="file is a file; expected a folder"):
        find_dataset("file")


def test_where_prints_the_folder_and_nothing_else(world: Path, monkeypatch: Any):
    monkeypatch.setenv("LUAB_DATA_HOME", str(world))
    found = CliRunner().invoke(where, ["coco-ab"])
    assert (found.exit_code, found.output) == (0, f"{world / 'coco-ab'}\n")
    monkeypatch.chdir(world)
    found = CliRunner().invoke(where, ["./imagenet-ab"])
    assert found.output == f"{world / 'imagenet-ab'}\n"


def test_where_tells_what_is_missing(copied: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LUAB_DATA_HOME", str(copied.parent))
    assert luab("where", "imagenet-ab").stdout == f"{copied}\n"
    (shard,) = (copied / "data").iterdir()
    shard.unlink()
    for name, words in (("imagenet-ab", "is missing though"), ("nothing-ab", "luab-data convert")):
        found = luab("where", name)
        assert found.exit_code == 1 and found.stdout == ""
        assert words in found.stderr and len(found.stderr.splitlines()) == 1


# --- with datasets -------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_come_in_the_order_asked_with_their_features(world: Path, streaming: bool):
    folder = world / "imagenet-ab"
    columns = ["boxes", "label", "image_id", "boxes"]
    everything = load_dataset(folder, columns=columns, streaming=streaming)
    assert list(everything) == ["train"]
    found = load_dataset(folder, columns=columns, streaming=streaming, split="train")
    assert list(found.features) == ["boxes", "label", "image_id"]
    assert found.features["label"].names == ["n00000001", "n00000002"]
    rows = list(found)
    assert rows == list(everything["train"])
    true = [{name: row[name] for name in columns} for row in image_rows(folder)]
    assert rows == true and list(rows[0]) == ["boxes", "label", "image_id"]
    assert len(load_dataset(folder, split="train").features) > 30  # another entry of the cache


def test_a_features_argument_wins_over_the_card(world: Path):
    import datasets

    features = datasets.Features({"label": datasets.Value("int16")})
    found = load_dataset(world / "imagenet-ab", columns=["label"], features=features, split="train")
    assert found.features["label"].dtype == "int16"


@pytest.mark.parametrize("streaming", [False, True])
def test_filters_work_although_the_card_counts_all_rows(world: Path, streaming: bool):
    folder = world / "imagenet-ab"
    options: dict[str, Any] = {"streaming": streaming, "split": "train"}
    found = load_dataset(folder, filters=[("selected", "==", False)], **options)
    true = [r for r in image_rows(folder) if r["selected"] is False]
    assert 0 < len(true) < 27 and list(found) == true
    either = [[("num_rounds", "==", 0)], [("final_click_x", ">", 1), ("label", "=", 1)]]
    found = load_dataset(folder, columns=["image_id"], filters=either, **options)
    assert [row["image_id"] for row in found] == ["n00000001_900", "n00000002_902"]


def test_datasets_without_filters_is_told_so(world: Path, monkeypatch: Any):
    from datasets.packaged_modules.parquet.parquet import ParquetConfig

    monkeypatch.delitem(ParquetConfig.__dataclass_fields__, "filters")
    with pytest.raises(OptionError, match=r"cannot filter while it reads; .*read_table"):
        load_dataset(world / "imagenet-ab", filters=[("label", "==", 1)])


@pytest.mark.parametrize(("name", "config"), every_config())
def test_read_table_is_the_parquet(world: Path, name: str, config: str):
    table = configs_of(world / name)[config]
    whole = pq.read_table(world / name / table.folder)
    assert read_table(world / name, config).equals(whole)
    some = whole.column_names[::-3]
    assert read_table(world / name, config, columns=some).equals(whole.select(some))


def test_read_table_needs_pyarrow_only(world: Path):
    code = (
        "import sys, luab_data.store.load as load\n"
        f"table = load.read_table({str(world / 'imagenet-ab')!r}, columns=['label'])\n"
        "print(table.num_rows, sorted({'datasets', 'pandas', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "27 []", found.stderr


# --- filters against plain Python ----------------------------------------------------------------

_OPERATORS = {
    **{"==": operator.eq, "=": operator.eq, "!=": operator.ne, "<": operator.lt},
    **{">": operator.gt, "<=": operator.le, ">=": operator.ge},
}
_VALUES: dict[str, list[Any]] = {
    "label": [-1, 0, 1, 2],
    "final_click_x": [0.0, 0.3, 0.5, 1.002, 7.0],
    "wnid": ["n00000001", "n00000002", "x"],
    "num_clicks": [0, 1, 2, 3],
}


def holds(row: dict[str, Any], condition: tuple[str, str, Any]) -> bool:
    name, how, value = condition
    if how in ("in", "not in"):
        return (row[name] in value) == (how == "in")
    return row[name] is not None and bool(_OPERATORS[how](row[name], value))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, Any]:
    name = draw(st.sampled_from(sorted(_VALUES)))
    how = draw(st.sampled_from([*_OPERATORS, "in", "not in"]))
    value = st.sampled_from(_VALUES[name])
    return name, how, draw(st.lists(value, min_size=1) if "in" in how else value)


both_forms = st.one_of(
    st.lists(conditions(), min_size=1, max_size=3),
    st.lists(st.lists(conditions(), min_size=1, max_size=3), min_size=1, max_size=3),
)


@settings(max_examples=60)
@given(filters=both_forms)
def test_read_table_keeps_the_rows_that_plain_python_keeps(world: Path, filters: list[Any]):
    folder = world / "imagenet-ab"
    groups = [filters] if isinstance(filters[0][0], str) else filters
    true = [
        row["image_id"]
        for row in image_rows(folder)
        if any(all(holds(row, condition) for condition in group) for group in groups)
    ]
    found = read_table(folder, columns=["image_id"], filters=filters)
    assert found.column_names == ["image_id"] and found["image_id"].to_pylist() == true


# --- what is refused -----------------------------------------------------------------------------


def both_ways(folder: Path, **options: Any) -> list[Any]:
    return [lambda: load_dataset(folder, **options), lambda: read_table(folder, **options)]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"config": "events"}, DatasetError, "no config 'events'; expected one of default, rounds"),
        ({"columns": ["final_clik_x"]}, DatasetError, "has no column 'final_clik_x'; did you mean"
         " final_click_x or"),
        ({"columns": ["zzzzzz"]}, DatasetError, "did you mean image_id or wnid or label"),
        ({"columns": []}, DatasetError, r"columns is \[\]; expected a list of names"),
        ({"columns": "label"}, DatasetError, "columns is 'label'; expected a list of names"),
        ({"filters": [("lable", "==", 1)]}, DatasetError, "no column 'lable'; did you mean label"),
        ({"filters": []}, OptionError, r"expected \[\(column, operator, value\), \.\.\.\]"),
        ({"filters": [[]]}, OptionError, "expected"),
        ({"filters": [()]}, OptionError, "expected"),
        ({"filters": "label"}, OptionError, "expected"),
        ({"filters": [("label", "==")]}, OptionError, "expected"),
        ({"filters": [("label", "~", 1)]}, OptionError, "not a valid operator"),
        ({"filters": [("label", "in", 1)]}, OptionError, "expected"),
        ({"filters": [("label", "in", [1, "x"])]}, OptionError, "expected"),
        ({"filters": [("label", "==", "dog")]}, OptionError, "int64, string"),
        ({"filters": [("boxes", "==", 1)]}, OptionError, "no kernel"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_before_anything_is_read(
    world: Path, options: dict[str, Any], error: type[Exception], words: str
):
    for way in both_ways(world / "imagenet-ab", **options):
        with pytest.raises(error, match=words):
            way()


def test_a_stranger_among_the_shards_stops_every_verb(copied: Path):
    """`train-00000-of-00001 copy.parquet`, as a file manager makes it, matches the card's glob."""
    (shard,) = (copied / "data").iterdir()
    stranger = shard.with_name(f"{shard.stem} copy.parquet")
    shutil.copy(shard, stranger)
    command = ["--out", str(copied.parent / "out")]
    for way in (
        *both_ways(copied),
        lambda: luab_data.stats(copied).counts,
        lambda: luab_data.annotators(copied),
        lambda: luab_data.accept(copied),
        lambda: luab_data.derive(copied),
        lambda: luab_data.publish(copied, "me/ab", dry_run=True),
    ):
        with pytest.raises(DatasetError, match=r"copy\.parquet: .* counted twice; move it"):
            way()
    for verb in (["report", str(copied), *command], ["calibrate", str(copied)]):
        found = CliRunner().invoke(main, verb)
        assert found.exit_code == 1 and "counted twice" in found.output
    stranger.rename(shard.with_name("._train-00000-of-00001.parquet"))  # a twin of macOS: noise
    assert len(read_table(copied)) == 27


def test_only_what_the_manifest_lists_is_read(copied: Path):
    table = kind_of(read_manifest(copied)).images
    (copied / "data" / "train-9.parquet").write_bytes(b"x")
    assert [path.name for path in parquet_files(copied, table)] == ["train-00000-of-00001.parquet"]


def test_names_that_are_nearly_right_are_suggested(world: Path, monkeypatch: Any):
    monkeypatch.chdir(world)
    with pytest.raises(DatasetError, match="Did you mean imagenet-ab\\?"):
        find_dataset("imagnet-ab")
    with pytest.raises(DatasetError, match="no config 'round'; did you mean 'rounds'\\?"):
        read_table("imagenet-ab", "round")
    with pytest.raises(DatasetError, match="but imagenet-ab does: name that folder"):
        find_dataset("imagenet-ab/data")
    with pytest.raises(DatasetError, match="but coco-ab and imagenet-ab in it do: name one"):
        find_dataset(world)


def test_a_path_that_datasets_takes_for_a_pattern_is_refused(copied: Path, tmp_path: Path):
    odd = copied.rename(copied.with_name("ab [1]"))
    with pytest.raises(DatasetError, match="for a pattern; rename the folder, or use"):
        load_dataset(odd)
    assert len(read_table(str(odd))) == 27


def test_a_folder_of_an_older_luab_loads_and_says_what_it_lacks(copied: Path):
    (path,) = (copied / "data").iterdir()
    table = pq.read_table(path).drop_columns(["hull_area"])
    pq.write_table(table, path)
    manifest = read_manifest(copied)
    del manifest["schemas"]["default"]["hull_area"]
    manifest["files"][f"data/{path.name}"] = sha256_of(path)
    (copied / MANIFEST).write_text(json.dumps(manifest))
    assert "hull_area" not in read_table(copied).column_names
    columns = read_columns(copied, kind_of(manifest).images, ["hull_area"])
    with pytest.raises(DatasetError, match="an older luab wrote it; `luab-data derive"):
        next(columns)


@pytest.mark.parametrize("name", ["revision", "data_files", "data_dir"])
def test_options_that_mean_nothing_for_a_folder_are_refused(world: Path, name: str):
    with pytest.raises(OptionError, match=f"does not take {name}: "):
        load_dataset(world / "imagenet-ab", **{name: "v1"})


def test_a_script_that_datasets_would_take_for_the_loader_is_found(copied: Path):
    script = copied / "imagenet-ab.py"
    script.write_text("raise SystemExit('run!')")
    with pytest.raises(DatasetError, match=r"imagenet-ab\.py: .* move it elsewhere"):
        load_dataset(copied)
    script.rename(copied / "other.py")
    assert len(load_dataset(copied, split="train")) == 27


def test_a_dataset_of_a_newer_luab_is_told_apart(copied: Path):
    manifest = read_manifest(copied)
    (copied / MANIFEST).write_text(json.dumps({**manifest, "dataset": "openimages-ab"}))
    for way in both_ways(copied):
        with pytest.raises(DatasetError, match="holds 'openimages-ab', which this luab does not"):
            way()


def test_columns_that_only_the_folder_knows_can_be_read(copied: Path):
    """A newer or a derived dataset: the manifest counts, not this luab's schema."""
    path = next((copied / "annotators").iterdir())
    table = pq.read_table(path)
    pq.write_table(table.append_column("extra", pa.nulls(len(table), pa.int8())), path)
    manifest = read_manifest(copied)
    manifest["schemas"]["annotators"]["extra"] = "int8"
    (copied / MANIFEST).write_text(json.dumps(manifest))
    found = read_table(copied, "annotators", columns=["extra", "worker_id"])
    assert found["extra"].null_count == len(table)
    assert read_table(copied, "annotators").column_names[-1] == "extra"


def test_a_flipped_byte_is_found_by_every_way(copied: Path):
    (path,) = (copied / "data").iterdir()
    chunk = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        read_table(copied)
    with pytest.raises(DatasetError, match="is not what the manifest says"):
        load_dataset(copied)
    assert read_table(copied, "rounds").num_rows == 31


# --- the README ----------------------------------------------------------------------------------


def test_the_ways_to_read_of_the_readme_work_as_pasted(world: Path, tmp_path: Path):
    section = re.search(r"## Reading a dataset\n.*?```python\n(.*?)```", README.read_text(), re.S)
    if section is None:
        pytest.skip("README.md has no section 'Reading a dataset' yet")
    check = (
        "assert len(frame) == first_count == 27 and list(frame.columns) == [*clicks, 'boxes']\n"
        "picked = frame[frame['final_click_x'].notna()]\n"
        "assert table.num_rows == len(picked) and 0 < len(picked) < 27\n"
        "assert abs(mean - picked['final_click_x'].mean()) < 1e-12\n"
        "assert means['final_click_x'].to_list() == list(\n"
        "    polars.from_pandas(picked[clicks]).group_by('label').agg(\n"
        "        polars.col('final_click_x').mean()).sort('label')['final_click_x'])\n"
        "assert table['final_click_y'].to_pylist() == picked['final_click_y'].to_list()\n"
        "assert boxed.column_names == clicks and 0 < len(boxed) < 27\n"
        "assert boxed.features['label'].names == ['n00000001', 'n00000002']\n"
        "assert arrow.num_rows == 31\n"
    )
    count = "first_count = 1 + sum(1 for _ in stream.skip(1))\n"
    code = section[1] + count + check
    environ = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "PYTHONWARNINGS": "default"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        **{"cwd": world, "env": environ, "capture_output": True, "text": True, "timeout": 120},
    )
    assert found.returncode == 0, found.stderr


# --- every release -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reports(
    world: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, dict[str, Any]]:
    """Release -> what load_everywhere.py saw there, each in a process of its own."""
    kept = Path(request.config.cache.mkdir("environments"))
    found = {}
    pythons = {release.name: environment(release, kept) for release in RELEASES}
    for name, python in {**pythons, "installed": Path(sys.executable)}.items():
        out = tmp_path_factory.mktemp(name)
        program = Path(__file__).with_name("load_everywhere.py")
        command = [str(python), str(program), str(world), str(out / "hf"), str(out / "report")]
        environ = {**os.environ, "PYTHONPATH": str(Path(luab_data.__file__).parents[1])}
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=300)
        assert done.returncode == 0, f"{name}\n{done.stderr[-5000:]}"
        found[name] = json.loads((out / "report").read_text())
    return found


def true_kind(type: pa.DataType) -> Any:
    return [true_kind(type.value_type)] if pa.types.is_list(type) else str(type)


@pytest.mark.slow
def test_three_releases_of_datasets_were_tried(reports: dict[str, Any]):
    names = {name: report["release"] for name, report in reports.items()}
    assert names["datasets-2.14.7"] == "2.14.7" and names["datasets-3.6.0"] == "3.6.0"
    assert int(names["installed"].split(".")[0]) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config"), every_config())
def test_every_release_serves_the_rows_of_the_parquet(
    world: Path, reports: dict[str, Any], name: str, config: str
):
    table = configs_of(world / name)[config]
    rows = [json.dumps(row) for row in true_rows(world / name, table)]
    labels: dict[str, Any] = {column.name: None for column in table.columns}
    for column in table.columns:
        if column.classes:
            coco, wnids = list(COCO_CLASSES), ["n00000001", "n00000002"]
            labels[column.name] = coco if column.classes == "coco" else wnids
    types = {field.name: true_kind(field.type) for field in table.schema()}
    expected = {"rows": rows, "types": types, "labels": labels}
    for release, report in reports.items():
        folder = report["folders"][name]
        assert set(folder["configs"]) == {t.config for t in KINDS[name].tables}, release
        seen = [folder["configs"][config]]
        if release != "installed":
            seen.append(folder["scripts"][config])
        for found in seen:
            assert found["splits"] == {"train": len(rows)}, release
            assert found["mapped"] == expected, release
            assert found["streamed"] == expected, release


@pytest.mark.slow
def test_null_and_empty_lists_are_told_apart_everywhere(reports: dict[str, Any]):
    """The instances file lacks 900 (without icons) and 902 (a removed one); image 1 has it all."""
    for release, report in reports.items():
        rows = report["folders"]["coco-ab"]["configs"]["default"]["mapped"]["rows"]
        found = {row["image_id"]: row for row in map(json.loads, rows)}
        assert found[900]["labels"] is None and found[900]["icon_label"] == [], release
        assert found[1]["labels"] and found[902]["final_x"] == [None, 0.9], release
        rows = report["folders"]["imagenet-ab"]["configs"]["default"]["mapped"]["rows"]
        by_id = {row["image_id"]: row for row in map(json.loads, rows)}
        assert by_id["n00000001_900"]["boxes"] == [], release
        assert by_id["n00000001_900"]["hull_x"] is None, release


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS))
def test_columns_can_be_picked_with_every_release(reports: dict[str, Any], name: str):
    for release, report in reports.items():
        whole = report["folders"][name]["configs"]["default"]["mapped"]
        for found in report["folders"][name]["columns"]:
            columns = list(found["types"])
            picked = [{c: row[c] for c in columns} for row in map(json.loads, whole["rows"])]
            assert columns[-1] == "image_id" and len(columns) < 4, release
            assert found["rows"] == [json.dumps(row) for row in picked], release
            assert found["types"] == {c: whole["types"][c] for c in columns}, release
            assert found["labels"] == {c: whole["labels"][c] for c in columns}, release


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS))
def test_scripts_run_only_where_datasets_runs_scripts(reports: dict[str, Any], name: str):
    error = reports["installed"]["folders"][name]["script_error"]
    assert error.startswith("RuntimeError: Dataset scripts are no longer supported")
