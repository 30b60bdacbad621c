"""`luab-data derive`: the same dataset again from its own raw columns."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from derive_world import (
    IMAGES_PER_SHARD,
    coco_dataset,
    imagenet_dataset,
    instances_file,
    spoil,
)
from logs import files, luab

from luab_data.cli.datasets import derive as command
from luab_data.columns.registry import COCO, IMAGENET
from luab_data.derivation import derive
from luab_data.errors import DatasetError, ImagesError, OptionError, OutputError
from luab_data.hub.card import complete
from luab_data.kinds import KINDS, tables_of
from luab_data.schema import COCO_IMAGES, IMAGENET_IMAGES
from luab_data.store import folder as store
from luab_data.store.digest import shard_digest
from luab_data.store.shards import Shard

POINT = ["notebook_point_x", "notebook_point_y"]
DERIVED = [n for n in IMAGENET.names(optional=False) if not IMAGENET_IMAGES[n].raw]
OF_ICONS = ["icon_label", "icon_name", "last_add_x", "final_y", "action_sequence", "num_actions"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """imagenet-ab, coco-ab, coco-true (with instances) and instances.json; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        for kind in KINDS.values():
            patch.setattr(type(kind), "images_per_shard", IMAGES_PER_SHARD)
        imagenet_dataset(folder)
        truth = instances_file(folder / "instances.json")
        coco_dataset(folder, None)
        coco_dataset(folder, truth, "coco-true")
    yield folder


def copy(made: Path, name: str, tmp_path: Path) -> Path:
    """A copy under the same name: the card has the name in it."""
    return Path(shutil.copytree(made / name, tmp_path / name))


# --- the same again -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imagenet-ab", "coco-ab", "coco-true"])
def test_a_fresh_conversion_comes_out_as_it_is_to_the_last_byte(
    made: Path, name: str, tmp_path: Path
):
    folder = copy(made, name, tmp_path)
    assert len(store.parquet_files(folder, tables_of({"dataset": "coco-ab"})[0])) > 2
    done = derive(folder)
    assert not done.changed
    assert files(folder) == files(made / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_with_its_instances_file_coco_comes_out_as_it_is(made: Path, tmp_path: Path):
    folder = copy(made, "coco-true", tmp_path)
    done = derive(folder, instances=made / "instances.json")
    assert not done.changed and not done.kept
    assert {"width", "height", "labels", "is_on_object"} <= set(done.columns)
    assert files(folder) == files(made / "coco-true")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("imagenet-ab", DERIVED), ("coco-ab", [*OF_ICONS, "worker_id", "time_spent_ms"])],
)
def test_wrong_derived_columns_are_made_right(
    made: Path, tmp_path: Path, name: str, wrong: list[str]
):
    folder = copy(made, name, tmp_path)
    spoil(folder, tables_of({"dataset": name})[0], wrong)
    assert files(folder) != files(made / name)
    derive(folder)
    assert files(folder) == files(made / name)


def test_wrong_columns_of_the_ground_truth_are_made_right_with_the_instances_file(
    made: Path, tmp_path: Path
):
    folder = copy(made, "coco-true", tmp_path)
    spoil(folder, COCO_IMAGES, ["labels", "is_on_object", "width"])
    with pytest.raises(DatasetError, match="--instances FILE"):
        derive(folder)  # is_on_object is kept and fits the icons no more
    derive(folder, instances=made / "instances.json")
    assert files(folder) == files(made / "coco-true")


NEW = ["boxes", "box_label", "is_last_add_on_object", "num_adds", "num_adds_on_object"]


def of_an_older_luab(folder: Path) -> Path:
    """Take the columns out of `default` that the first release did not have."""
    for path in (folder / "data").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(NEW), path)
    manifest = json.loads((folder / store.MANIFEST).read_text())
    for name in NEW:
        del manifest["schemas"]["default"][name]
    (folder / store.MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_an_older_folder_gets_the_new_columns(made: Path, tmp_path: Path):
    folder = of_an_older_luab(copy(made, "coco-true", tmp_path))
    with pytest.raises(OptionError, match=r"lacks box_label, boxes, .*; add --instances FILE"):
        derive(folder)
    done = derive(folder, instances=made / "instances.json")
    assert set(NEW) < set(done.columns)
    now, whole = files(folder), files(made / "coco-true")
    assert [now[n] for n in whole if n.startswith("data/")] == [
        whole[n] for n in whole if n.startswith("data/")
    ]


def test_an_older_folder_without_ground_truth_needs_no_instances_file(made: Path, tmp_path: Path):
    folder = of_an_older_luab(copy(made, "coco-ab", tmp_path))
    assert set(derive(folder, columns=["icon_name"]).columns) == {"icon_name", *NEW}
    rows = pq.read_table(folder / "data")
    assert rows.schema.names == COCO_IMAGES.schema().names
    assert rows["boxes"].null_count == len(rows) and not rows["num_adds"].null_count


def test_a_sealed_dataset_with_wrong_values_gets_another_version_and_its_annotators(
    made: Path, tmp_path: Path
):
    folder = copy(made, "imagenet-ab", tmp_path)
    spoil(folder, IMAGENET_IMAGES, ["final_click_x", "click_in_box"])
    reseal(folder)
    wrong = store.read_manifest(folder)["version"]
    done = derive(folder)
    assert done.changed and done.version != wrong
    whole = files(made / "imagenet-ab")
    now = files(folder)
    note = json.loads(now["manifest.json"])["derived"]
    assert note["columns"] == list(done.columns) and "pyarrow" in note["versions"]
    same = [name for name in whole if name.endswith(".parquet") or name == "skipped.jsonl"]
    assert len(same) > 6 and all(now[name] == whole[name] for name in same)
    assert done.content_digest == store.read_manifest(made / "imagenet-ab")["content_digest"]


def reseal(folder: Path) -> None:
    """As if a conversion had computed the values that are there, annotators included."""
    manifest = store.read_manifest(folder)
    shards = {}
    for table in tables_of(manifest):
        if table.config == "annotators":
            spoil(folder, table, ["mean_click_x"])
        tables = [pq.read_table(p) for p in store.parquet_files(folder, table)]
        digests = [shard_digest([t.cast(table.schema())]) for t in tables]
        shards[table.config] = [
            Shard(len(t), t.nbytes, d) for t, d in zip(tables, digests, strict=True)
        ]
    complete(
        folder,
        folder,
        about={k: manifest[k] for k in list(manifest)[: list(manifest).index("version")]},
        shards=shards,
        schemas={t.config: t.schema() for t in tables_of(manifest)},
        wnids=manifest["classes"],
    )


# --- some columns ---------------------------------------------------------------------------------


def test_only_the_named_columns_are_computed(made: Path, tmp_path: Path):
    folder = copy(made, "imagenet-ab", tmp_path)
    spoil(folder, IMAGENET_IMAGES, ["num_clicks", "hull_area"])
    done = derive(folder, columns=["hull_area"])
    assert done.columns == ("hull_area",) and done.changed
    right = read(made / "imagenet-ab")
    assert read(folder)["hull_area"].equals(right["hull_area"])
    assert not read(folder)["num_clicks"].equals(right["num_clicks"])
    for name in set(right.column_names) - {"num_clicks"}:
        assert read(folder)[name].equals(right[name])


def read(folder: Path) -> pa.Table:
    return pq.read_table(sorted((folder / "data").glob("*.parquet"))).combine_chunks()


@pytest.mark.parametrize("name", ["imagenet-ab", "coco-true"])
def test_optional_columns_are_added_and_stay(made: Path, name: str, tmp_path: Path):
    source = made / name
    out = tmp_path / "with-points" / name
    done = derive(source, columns=POINT, out=out)
    assert done.changed and done.columns == tuple(POINT)
    table = read(out)
    assert table.column_names[-2:] == POINT
    assert table.drop_columns(POINT).equals(read(source))
    points = table[POINT[0]]
    assert pa.compute.count(points).as_py() > 10
    # Rows of the other configs are the very same files; the rest says what is there now.
    old, new = files(source), files(out)
    changed = {name for name in old if new[name] != old[name]}
    assert not [name for name in changed if name.startswith(("rounds/", "actions/"))]
    assert {"README.md", "manifest.json", "SHA256SUMS"} < changed
    manifest = store.read_manifest(out)
    assert list(manifest["schemas"]["default"])[-2:] == POINT
    assert "| `notebook_point_x` |" in new["README.md"].decode()
    assert "notebook_point_x" in new[next(n for n in new if n.startswith("legacy/"))].decode()
    store.check_files(out, only=tables_of(manifest)[0])

    again = derive(out)
    assert not again.changed and set(POINT) <= set(again.columns)
    assert files(out) == new


def test_a_folder_with_optional_columns_loads(made: Path, tmp_path: Path):
    derive(made / "coco-ab", columns=POINT, out=tmp_path / "coco-ab")
    import datasets

    folder, cache = str(tmp_path / "coco-ab"), str(tmp_path / "cache")
    rows = datasets.load_dataset(folder, split="train", cache_dir=cache)
    assert rows[:][POINT[0]] == read(tmp_path / "coco-ab")[POINT[0]].to_pylist()


def test_points_of_the_notebook_follow_the_published_labels_without_the_instances_file(
    made: Path, tmp_path: Path
):
    one, two = tmp_path / "one", tmp_path / "two"
    derive(made / "coco-true", columns=POINT, out=one)
    derive(made / "coco-true", columns=POINT, out=two, instances=made / "instances.json")
    assert read(one).equals(read(two))
    derive(made / "coco-ab", columns=POINT, out=tmp_path / "three")
    assert not read(one)[POINT[0]].equals(read(tmp_path / "three")[POINT[0]])


def test_an_instances_file_turns_a_conversion_without_into_one_with(made: Path, tmp_path: Path):
    out = tmp_path / "coco-true"
    done = derive(made / "coco-ab", out=out, instances=made / "instances.json")
    wanted, found = files(made / "coco-true"), files(out)
    assert done.content_digest == store.read_manifest(made / "coco-true")["content_digest"]
    rows = [name for name in wanted if name.endswith(".parquet")]
    assert len(rows) > 6 and all(found[name] == wanted[name] for name in rows)
    about = json.loads(found["manifest.json"])["instances"]
    assert about == json.loads(wanted["manifest.json"])["instances"]
    assert about["num_images_missing"] == 5


def test_an_instances_file_of_other_images_is_noticed(made: Path, tmp_path: Path):
    empty = tmp_path / "empty.json"
    empty.write_text('{"images": [], "annotations": []}')
    folder = copy(made, "coco-ab", tmp_path)
    with pytest.raises(ImagesError, match="has none of the 40 images"):
        derive(folder, instances=empty)
    assert files(folder) == files(made / "coco-ab")


# --- killed, damaged, refused ---------------------------------------------------------------------

_KILLED = """
import os, signal, sys
import luab_data.derivation as run
def kill(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)
moment = sys.argv[2]
if moment == "run":
    whole = run.derive_shards
    def some(job, *rest, **named):
        whole(job, *rest, **named)
        kill()
    run.derive_shards = some
elif moment == "complete":
    run.complete = kill
else:
    whole = run.complete
    def sealed(*given, **named):
        whole(*given, **named)
        kill()
    run.complete = sealed
run.derive(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("moment", ["run", "complete", "sealed"])
def test_killed_in_between_the_old_dataset_stays(made: Path, moment: str, tmp_path: Path):
    folder = copy(made, "imagenet-ab", tmp_path)
    spoil(folder, IMAGENET_IMAGES, DERIVED)
    before = files(folder)
    found = subprocess.run([sys.executable, "-c", _KILLED, str(folder), moment], timeout=120)
    assert found.returncode == -signal.SIGKILL
    assert files(folder) == before
    derive(folder)
    assert files(folder) == files(made / "imagenet-ab")
    assert [p.name for p in tmp_path.iterdir()] == ["imagenet-ab"]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.unlink()  # a copy of its own: the fixture's files may be linked
    path.write_bytes(data)


@pytest.mark.parametrize("config", ["data", "rounds"])
def test_damaged_shards_are_refused_and_nothing_changes(made: Path, config: str, tmp_path: Path):
    folder = copy(made, "imagenet-ab", tmp_path)
    flip(sorted((folder / config).iterdir())[1], 100)
    before = files(folder)
    with pytest.raises(DatasetError, match=rf"{config}/train-00001.*damaged"):
        derive(folder)
    assert files(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["imagenet-ab"]


def test_files_that_are_taken_over_have_to_be_those_of_the_manifest(made: Path, tmp_path: Path):
    folder = copy(made, "imagenet-ab", tmp_path)
    (path,) = (folder / "annotators").iterdir()
    path.write_bytes(path.read_bytes() + b"more")
    before = files(folder)
    with pytest.raises(DatasetError, match=r"annotators/train-00000.*not what the manifest says"):
        derive(folder)
    assert files(folder) == before


@pytest.mark.parametrize("name", ["imagenet-ab", "coco-ab"])
def test_shards_that_do_not_hold_the_same_images_are_refused(made: Path, name: str, tmp_path: Path):
    folder = copy(made, name, tmp_path)
    log = tables_of({"dataset": name})[1].folder
    first, second = sorted((folder / log).iterdir())[:2]
    shutil.copy(second, first)
    with pytest.raises(DatasetError, match="not those of the shard of the same number"):
        derive(folder)


def test_a_dataset_whose_shards_do_not_pair_is_refused(made: Path, tmp_path: Path):
    folder = copy(made, "coco-ab", tmp_path)
    manifest = store.read_manifest(folder)
    for shards in ({}, {"default": [{}], "actions": []}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "shards": shards}))
        with pytest.raises(DatasetError, match="do not pair"):
            derive(folder)


def test_a_missing_column_is_named(made: Path, tmp_path: Path):
    folder = copy(made, "imagenet-ab", tmp_path)
    for path in (folder / "rounds").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["selected"]), path)
    with pytest.raises(DatasetError, match="has no column selected"):
        derive(folder)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("imagenet-ab", {"columns": ["final_clock_x"]}, "'final_clock_x' is no derived column"),
        ("imagenet-ab", {"columns": ["wnid"]}, "'wnid' is no derived column"),
        ("imagenet-ab", {"columns": []}, "names no column"),
        ("coco-ab", {"columns": ["final_x", "labels"]}, "labels: computed from COCO's instances"),
        ("imagenet-ab", {"instances": Path(__file__)}, "no column of imagenet-ab needs"),
        ("imagenet-ab", {"out": "nosuch://bucket/ab"}, "nosuch://bucket/ab: cannot be opened"),
    ],
)
def test_what_makes_no_sense_is_refused(
    made: Path, name: str, options: dict[str, Any], says: str, tmp_path: Path
):
    folder = copy(made, name, tmp_path)
    with pytest.raises(OptionError, match=says):
        derive(folder, **options)
    assert files(folder) == files(made / name)


def test_a_folder_of_somebody_else_is_not_written_over(made: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    with pytest.raises(OutputError, match="luab did not write it"):
        derive(made / "imagenet-ab", out=tmp_path / "mine")
    with pytest.raises(DatasetError, match=r"has no manifest\.json"):
        derive(tmp_path / "mine")


# --- elsewhere ------------------------------------------------------------------------------------


def test_a_dataset_goes_to_any_filesystem_and_back(made: Path, tmp_path: Path):
    import fsspec

    url = "memory://test_derive/imagenet-ab"
    memory = fsspec.filesystem("memory")
    try:
        there = derive(made / "imagenet-ab", out=url)
        assert not there.changed
        found = {
            n: memory.cat(f"/test_derive/imagenet-ab/{n}") for n in files(made / "imagenet-ab")
        }
        assert found == files(made / "imagenet-ab")
        assert len(memory.find("/test_derive/imagenet-ab")) == len(found)
        with pytest.raises(OutputError, match="only a local folder can be replaced"):
            derive(url)
        points = derive(url, columns=POINT, out="memory://test_derive/points")
        derive(made / "imagenet-ab", columns=POINT, out=tmp_path / "points")
        derive("memory://test_derive/points", out=tmp_path / "back" / "points")
        assert points.changed
        assert files(tmp_path / "back" / "points") == files(tmp_path / "points")
    finally:
        memory.rm("/test_derive", recursive=True)


def test_the_manifest_comes_last(made: Path, monkeypatch: pytest.MonkeyPatch):
    import fsspec

    from luab_data.derivation.places import Place

    memory = fsspec.filesystem("memory")
    names = []
    copy_to = Place.copy_to

    def noted(self: Place, name: str, target: Place, *rest: Any, **named: Any) -> str:
        names.append(name)
        return copy_to(self, name, target, *rest, **named)

    monkeypatch.setattr(Place, "copy_to", noted)
    try:
        derive(made / "coco-ab", out="memory://test_last/coco-ab")
    finally:
        memory.rm("/test_last", recursive=True)
    assert names[-1] == "manifest.json" and names.count("manifest.json") == 1


def test_a_url_without_a_dataset_is_answered_clearly(tmp_path: Path):
    with pytest.raises(DatasetError, match="expected a folder written by"):
        derive(f"memory://{tmp_path.name}/nothing")


# --- the command ----------------------------------------------------------------------------------


def test_the_command_says_what_it_computed_and_kept(made: Path, tmp_path: Path):
    arguments = ["derive", made / "imagenet-ab", "--columns", "notebook_point_x, notebook_point_y"]
    found = luab(*arguments, "--out", tmp_path / "out", columns=200)
    assert found.exit_code == 0, found.output
    version = store.read_manifest(tmp_path / "out")["version"]
    assert found.stdout.splitlines() == [
        f"{tmp_path / 'out'}: version {version}, new content, 50 images",
        "computed: notebook_point_x, notebook_point_y",
    ]
    found = luab("derive", copy(made, "coco-ab", tmp_path), columns=200)
    assert found.exit_code == 0
    assert "content as before, 40 images" in found.output
    kept = "width, height, labels, boxes, box_label, is_on_object"
    kept += ", is_last_add_on_object, num_adds_on_object"
    assert found.output.splitlines()[-1] == f"kept as they were: {kept}"
    assert all(name in found.output for name in COCO.names(optional=False))


# --- docs/engines.md ------------------------------------------------------------------------------

ENGINES = Path(__file__).resolve().parents[1] / "docs" / "engines.md"


def test_the_commands_of_the_page_on_engines_are_true(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("imagenet-ab", "coco-ab"):
        copy(made, name, tmp_path)
    shutil.copy(made / "instances.json", tmp_path / "instances_train2014.json")
    monkeypatch.chdir(tmp_path)
    lines = [line for line in ENGINES.read_text().splitlines() if line.startswith("luab-data ")]
    assert len(lines) == 4
    for line in lines:
        arguments = shlex.split(line)[2:]
        if "ray" in arguments:  # tests/test_derive_ray.py; here that the options exist
            arguments[-1] = "local"
        found = CliRunner().invoke(command, arguments)
        assert found.exit_code == 0, f"{line}\n{found.output}"
    assert files(tmp_path / "imagenet-ab") == files(made / "imagenet-ab")


def test_the_python_of_the_page_on_engines_works_as_pasted(made: Path):
    code = ENGINES.read_text().split("```python\n")[1].split("```")[0]
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=made, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "list<item: double> True\n"


def test_a_manifest_that_points_outside_is_refused(tmp_path: Path):
    folder = coco_dataset(tmp_path, None)
    path = folder / store.MANIFEST
    manifest = json.loads(path.read_text())
    for name in ("actions/../../victim.txt", "/victim.txt", "..", "a\\b", "c:x"):
        files = {**manifest["files"], name: "0" * 64}
        path.write_text(json.dumps({**manifest, "files": files}))
        with pytest.raises(DatasetError, match="outside of the folder"):
            derive(folder, out=tmp_path / "dst" / "ds")
    assert not (tmp_path / "dst").exists()


def test_shards_of_a_failed_upload_are_never_mixed_in(tmp_path: Path):
    import fsspec

    folder = coco_dataset(tmp_path, None)
    url = "memory://test_failed/coco-ab"
    memory = fsspec.filesystem("memory")
    with memory.open("/test_failed/coco-ab/data/train-00000-of-00009.parquet", "wb") as file:
        file.write(b"PAR1")
    with pytest.raises(OutputError, match=r"data/train-00000-of-00009\.parquet, which is no file"):
        derive(folder, out=url)
    memory.rm("/test_failed/coco-ab/data/train-00000-of-00009.parquet")
    names = sorted(p.name for p in (folder / "data").iterdir())
    with memory.open(f"/test_failed/coco-ab/data/{names[0]}", "wb") as file:
        file.write(b"half of it")  # of this very dataset: written over
    derive(folder, out=url)
    found = sorted(
        p.rpartition("/")[2] for p in memory.ls("/test_failed/coco-ab/data", detail=False)
    )
    assert found == names
    memory.rm("/test_failed", recursive=True)
