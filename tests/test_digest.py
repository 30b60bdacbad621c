"""The content digest sees values and nothing else."""

from __future__ import annotations

import hashlib
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from logs import KEY, archive, block, xml
from test_convert import small

import luab_data
from luab_data.kinds import Browsing
from luab_data.schema import IMAGENET_IMAGES, IMAGENET_ROUNDS, Column, Table
from luab_data.store import folder as store
from luab_data.store import shards
from luab_data.store.digest import ShardDigest, content_digest, shard_digest

SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "flag": pa.bool_(),
        "count": pa.int16(),
        "x": pa.float64(),
        "many": pa.list_(pa.float64()),
        "names": pa.list_(pa.string()),
        "boxes": pa.list_(pa.list_(pa.float64())),
    }
)
number = st.floats(allow_nan=False)
row = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=3),
        "flag": st.none() | st.booleans(),
        "count": st.none() | st.integers(-5, 5),
        "x": st.none() | number,
        "many": st.none() | st.lists(st.none() | number, max_size=3),
        "names": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=2),
        "boxes": st.lists(st.lists(number, max_size=2), max_size=2),
    }
)


def exactly(rows: list[dict]) -> str:
    """Text that differs when any value differs, the sign of zero included, in any order of rows."""
    return repr(sorted(repr([row[name] for name in SCHEMA.names]) for row in rows))


@given(st.lists(row, max_size=7), st.lists(st.integers(0, 7), max_size=3))
def test_batches_chunks_and_slices_do_not_show(rows: list, cuts: list[int]):
    table = pa.Table.from_pylist(rows, SCHEMA)
    padded = pa.concat_tables([table.slice(0, 1), table, table.slice(0, 2)])
    sliced = padded.slice(min(1, len(table)), len(table))
    bounds = sorted({0, len(table), *(c for c in cuts if c <= len(table))})
    pieces = [sliced.slice(a, b - a) for a, b in pairwise(bounds)]
    whole = shard_digest([table])
    if table.num_rows:
        assert shard_digest(pieces) == whole
        assert shard_digest([pa.concat_tables(pieces)]) == whole


@given(st.lists(row, max_size=4), st.lists(row, max_size=4))
def test_equal_digests_mean_equal_values(first: list, second: list):
    digests = [shard_digest([pa.Table.from_pylist(rows, SCHEMA)]) for rows in (first, second)]
    assert (digests[0] == digests[1]) == (exactly(first) == exactly(second))


def test_rows_that_are_nearly_alike_differ():
    def of(**column: object) -> str:
        ((name, values),) = column.items()
        rows = {"key": range(len(values)), name: pa.array(values, SCHEMA.field(name).type)}
        return shard_digest([pa.table(rows)])

    assert of(many=[[1.0], []]) != of(many=[[], [1.0]])
    assert of(many=[[], None]) != of(many=[None, []])
    assert of(many=[[None]]) != of(many=[[0.0]])
    assert of(text=["ab", "c"]) != of(text=["a", "bc"])
    assert of(text=[""]) != of(text=[None])
    assert of(x=[0.0]) != of(x=[-0.0])
    assert of(flag=[None]) != of(flag=[False])
    assert shard_digest([pa.table({"a": pa.array([1], pa.int16())})]) != shard_digest(
        [pa.table({"a": pa.array([1], pa.int32())})]
    )
    assert of(many=[[1.0, 2.0]]) != of(many=[[2.0, 1.0]])
    assert of(x=[1.0, 1.0]) != of(x=[1.0])
    swapped = (
        pa.table({"a": ["x", "y"], "b": ["p", "q"]}),
        pa.table({"a": ["x", "y"], "b": ["q", "p"]}),
    )
    assert shard_digest(swapped[:1]) != shard_digest(swapped[1:])


@given(st.lists(row, min_size=1, max_size=7), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_their_shards_do_not_show(rows: list, random):
    table = pa.Table.from_pylist(rows, SCHEMA)
    cut = random.randrange(len(rows) + 1)
    shuffled = pa.Table.from_pylist(random.sample(rows, len(rows)), SCHEMA)
    parts = [shard_digest([part]) for part in (shuffled.slice(0, cut), shuffled.slice(cut))]
    assert content_digest({"a": parts}) == content_digest({"a": [shard_digest([table])]})


def test_a_million_floats_that_differ_in_few_bits_have_no_hash_twice():
    """Fractions of pictures: few distinct values, low bits alike."""
    sides = np.arange(1, 1001)
    values = np.unique(sides[:, None] / sides[None, :])
    single = pa.array(values)
    lists = pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32), single)
    pairs = pa.ListArray.from_arrays(
        np.arange(0, len(values), 2, dtype=np.int32), pa.array(values[::-1][: len(values) // 2 * 2])
    )
    for column in (single, lists, pairs):
        assert len(np.unique(ShardDigest()._hash(column))) == len(column)


def test_hidden_values_under_nulls_do_not_show():
    offsets, values = pa.array([0, 2, 3], pa.int32()), pa.array([1.0, 2.0, 3.0])
    hidden = pa.ListArray.from_arrays(offsets, values, mask=pa.array([True, False]))
    assert shard_digest([pa.table({"a": hidden})]) == shard_digest(
        [pa.table({"a": pa.array([None, [3.0]], pa.list_(pa.float64()))})]
    )


@pytest.mark.parametrize("level", [1, 9])
def test_encoding_and_row_groups_do_not_show(tmp_path: Path, monkeypatch, level: int):
    raw = small(tmp_path / "raw.tar.gz", count=30)
    first = luab_data.convert_imagenet(raw, tmp_path / "a", worker_key=KEY)
    options = shards._parquet_options
    monkeypatch.setattr(
        shards, "_parquet_options", lambda schema: {**options(schema), "compression_level": level}
    )
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 7)
    second = luab_data.convert_imagenet(raw, tmp_path / "b", worker_key=KEY)
    files = [out / "rounds/train-00000-of-00001.parquet" for out in (first.out, second.out)]
    assert files[0].read_bytes() != files[1].read_bytes()
    assert first.content_digest == second.content_digest and first.version == second.version
    manifest = store.read_manifest(first.out)
    for table in (IMAGENET_IMAGES, IMAGENET_ROUNDS):
        rows = pq.read_table(first.out / table.folder)
        assert [s["digest"] for s in manifest["shards"][table.config]] == [shard_digest([rows])]


def test_times_are_stored_as_differences(tmp_path: Path):
    out = luab_data.convert_imagenet(
        small(tmp_path / "r.tar.gz"), tmp_path / "a", worker_key=KEY
    ).out
    group = pq.ParquetFile(out / "rounds/train-00000-of-00001.parquet").metadata.row_group(0)
    found = {
        group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)
    }
    assert "DELTA_BINARY_PACKED" in found["mouse_tracking_time_ms.list.element"]
    assert "DELTA_BINARY_PACKED" in found["hit_submit_time"]
    assert "RLE_DICTIONARY" in found["selected_record_x.list.element"]


def rows_of_traces(count: int, *, inserted: int = 0) -> pa.Table:
    """Rows with long lists of floats that do not repeat, some more of them at a tenth."""
    draw = np.random.default_rng(0)
    lists = [draw.random(200) for _ in range(count)]
    lists[count // 10 : count // 10] = [np.random.default_rng(1).random(200)] * inserted
    column = Column(name="trace", type=pa.list_(pa.float64()), doc="")
    return pa.table([pa.array(lists, column.type)], pa.schema([column.field]))


def pages_of(rows: pa.Table, folder: Path) -> dict[bytes, int]:
    """SHA-256 -> bytes of each page of the values, of a file that ShardWriter writes."""
    folder.mkdir()
    column = Column(name="trace", type=pa.list_(pa.float64()), doc="")
    table = Table(config="default", folder="data", row="", columns=(column,))
    writer = shards.ShardWriter(folder, table)
    for start in range(0, len(rows), 100):
        writer.write(rows.slice(start, 100))
    path = writer.end_shard()
    data = path.read_bytes()
    chunks = pq.read_metadata(path).row_group(0).column(0)
    at, end, found = chunks.data_page_offset, 0, {}
    end = at + chunks.total_compressed_size
    # Each page begins with the same zstd frame; its magic number tells them apart.
    for page in data[at:end].split(b"\x28\xb5\x2f\xfd"):
        found[hashlib.sha256(page[:-64]).digest()] = len(page)  # the next page's header has counts
    return found


def test_pages_after_an_inserted_row_are_the_same_bytes(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 100_000)
    before = pages_of(rows_of_traces(4000), tmp_path / "before")
    assert before == pages_of(rows_of_traces(4000), tmp_path / "again")  # reproducible
    after = pages_of(rows_of_traces(4000, inserted=4), tmp_path / "after")
    fresh = sum(size for key, size in after.items() if key not in before)
    assert fresh / sum(after.values()) < 0.2  # 1.0 with pages of one size


def groups_of(ids: list[str], folder: Path, batch: int) -> dict[bytes, int]:
    """SHA-256 -> bytes of each row group of short rows with these ids."""
    columns = (
        Column(name="image_id", type=pa.string(), doc=""),
        Column(name="x", type=pa.float64(), doc=""),
    )
    table = Table(config="default", folder="data", row="", columns=columns)
    values = [(zlib.crc32(name.encode()) % 324) / 324 for name in ids]
    rows = pa.table([pa.array(ids), pa.array(values)], table.schema())
    folder.mkdir()
    writer = shards.ShardWriter(folder, table)
    for start in range(0, len(rows), batch):
        writer.write(rows.slice(start, batch))
    path = writer.end_shard()
    data, found, metadata = path.read_bytes(), {}, pq.read_metadata(path)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        start = group.column(0).dictionary_page_offset
        end = start + sum(group.column(k).total_compressed_size for k in range(2))
        found[hashlib.sha256(data[start:end]).digest()] = end - start
    return found


def test_row_groups_after_an_inserted_row_are_the_same_bytes(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 2048)
    ids = [f"n0000000{k % 7}_{k}" for k in range(30_000)]
    more = [*ids[:3000], *(f"n00000009_{k}" for k in range(30)), *ids[3000:]]
    before = groups_of(ids, tmp_path / "a", batch=1000)
    assert before == groups_of(ids, tmp_path / "b", batch=4321)  # whatever the batches
    after = groups_of(more, tmp_path / "c", batch=1000)
    fresh = sum(size for key, size in after.items() if key not in before)
    assert len(after) > 20 and fresh / sum(after.values()) < 0.1


def test_shards_after_inserted_images_are_the_same_rows(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(Browsing, "images_per_shard", 600)
    digests = []
    for name, names in (
        ("a", range(3000)),
        ("b", [*range(300), *range(9000, 9004), *range(300, 3000)]),
    ):
        records = {f"n00000001_{k}": xml(f"n00000001_{k}", [block()]) for k in names}
        log = archive(tmp_path / f"{name}.tar.gz", records)
        out = luab_data.convert_imagenet(log, tmp_path / name, worker_key=KEY).out
        digests.append([shard["digest"] for shard in store.read_manifest(out)["shards"]["default"]])
        assert all(s["num_rows"] >= 600 for s in store.read_manifest(out)["shards"]["default"][:-1])
    assert len(digests[0]) > 3 and sum(a != b for a, b in zip(*digests, strict=True)) == 1
