from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import KEY, action, archive, block, coco_log, coco_record, xml

import luab_data
from luab_data import splits
from luab_data.errors import DatasetError, OptionError


def place(what: str, seed: int, text: str) -> float:
    """The rule as the module's first lines give it, without the module."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=f"luab {what} {seed}".encode())
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2**53


def slow_by_group(groups: list[str | None], fractions: dict[str, float], what: str, seed: int):
    out = []
    for group in groups:
        side, edge = None, 0.0
        for name, share in fractions.items():
            edge = math.fsum([edge, share])
            if group is not None and side is None and place(what, seed, group) < edge:
                side = name
        out.append(side if side or group is None else list(fractions)[-1])
    return out


def slow_fraction(ids: list[Any], strata: list[Any], fraction: float, seed: int) -> list[bool]:
    classes = defaultdict(list)
    for row, stratum in enumerate(strata):
        classes[stratum].append((place("image", seed, str(ids[row])), row))
    kept = set()
    for rows in classes.values():
        count = max(1, math.floor(fraction * len(rows) + 0.5))
        kept |= {row for _, row in sorted(rows)[:count]}
    return [row in kept for row in range(len(ids))]


_KEYS = ("image_id", "wnid")


def images(per_class: dict[str, int], start: int = 0) -> pa.Table:
    names = [(f"{c}_{start + i}", c) for c, n in per_class.items() for i in range(n)]
    columns = zip(*names, strict=True) if names else ((), ())
    return pa.table({n: pa.array(c, pa.string()) for n, c in zip(_KEYS, columns, strict=True)})


def by_id(ids: pa.ChunkedArray, answers: pa.Array) -> dict[Any, Any]:
    return dict(zip(ids.to_pylist(), answers.to_pylist(), strict=True))


# --- by group ------------------------------------------------------------------------------------


@given(
    st.lists(st.one_of(st.none(), st.text("abc0", max_size=4)), max_size=40),
    st.sampled_from([{"a": 1.0}, {"train": 0.9, "val": 0.1}, {"x": 0.2, "y": 0.3, "z": 0.5}]),
    st.integers(-(2**63), 2**63 - 1),
)
def test_groups_are_split_by_the_rule_that_is_documented(groups: Any, fractions: Any, seed: int):
    column = pa.array(groups, pa.string())
    table = pa.table({"worker_id": column, "hit_id": column})
    found = splits.by_annotator(table, fractions, seed=seed).to_pylist()
    assert found == slow_by_group(groups, fractions, "annotator", seed)
    assert splits.by_hit(table, fractions, seed=seed).to_pylist() == slow_by_group(
        groups, fractions, "hit", seed
    )


def test_the_split_of_a_worker_is_pinned_for_all_time():
    table = pa.table({"worker_id": ["ada", "bob", "eve", "kim", None], "hit_id": list("abcde")})
    halves = {"train": 0.5, "val": 0.5}
    words = {"v": "val", "t": "train", "-": None}
    for found, expected in (
        (splits.by_annotator(table, halves), "vvtv-"),
        (splits.by_annotator(table, halves, seed=1), "vttv-"),
        (splits.by_hit(table, halves), "vtttv"),
    ):
        assert found.to_pylist() == [words[letter] for letter in expected]


def crowd(workers: int = 3000, each: int = 3) -> pa.Table:
    return pa.table({"worker_id": [f"w{i % workers}" for i in range(workers * each)]})


def test_no_worker_is_on_two_sides_and_shares_are_those_asked_for():
    table = crowd()
    fractions = {"train": 0.8, "val": 0.15, "test": 0.05}
    found = splits.by_annotator(table, fractions)
    sides = table.append_column("side", found).group_by("worker_id").aggregate([])
    pairs = table.append_column("side", found).group_by(["worker_id", "side"]).aggregate([])
    assert len(pairs) == len(sides) == 3000
    for name, share in fractions.items():
        # Four standard errors of a binomial over 3,000 workers.
        count = pairs["side"].to_pylist().count(name)
        assert abs(count / 3000 - share) < 4 * math.sqrt(share * (1 - share) / 3000)


@pytest.mark.parametrize(
    ("fractions", "match"),
    [
        ({}, "a share"),
        ({"train": 0.9}, "add up to 0.9"),
        ({"train": 1.0, "val": 0.0}, "a share"),
        ({"train": 1.5, "val": -0.5}, "a share"),
        ({"train": float("nan")}, "a share"),
    ],
)
def test_shares_that_are_none_are_refused(fractions: dict[str, float], match: str):
    with pytest.raises(OptionError, match=match):
        splits.by_annotator(crowd(5), fractions)


def test_tenths_add_up():
    shares = {str(i): 0.1 for i in range(10)}
    assert None not in splits.by_annotator(crowd(50), shares).to_pylist()


# --- stratified ----------------------------------------------------------------------------------


@given(st.data())
def test_stratified_equals_the_slow_rule_however_the_table_is_cut(data: Any):
    ids = data.draw(st.lists(st.integers(0, 10**6), unique=True, max_size=60))
    names = st.sampled_from(["a", "b", "no stratum", None])
    strata = data.draw(st.lists(names, min_size=len(ids), max_size=len(ids)))
    fraction = data.draw(st.sampled_from([0.01, 0.5, 0.8, 0.95, 1.0]))
    table = pa.table({"image_id": pa.array(ids, pa.int64()), "s": pa.array(strata, pa.string())})
    cut = data.draw(st.integers(0, len(ids)))
    padded = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    for given_ in (table, padded, pa.concat_tables([table, table]).slice(len(ids))):
        mask = splits.stratified_fraction(given_, fraction, seed=7, strata="s")
        assert mask.to_pylist() == slow_fraction(ids, strata, fraction, 7)
    whole = splits.stratified_fraction(table, fraction, seed=7, strata=None)
    assert whole.to_pylist() == slow_fraction(ids, [0] * len(ids), fraction, 7)


def test_every_class_keeps_its_share_and_the_subsets_are_nested():
    table = images({"a": 1300, "b": 1299, "c": 732, "d": 1, "e": 3})
    masks = {}
    for fraction in (0.8, 0.9, 0.95, 1.0):
        mask = splits.stratified_fraction(table, fraction).to_numpy(zero_copy_only=False)
        masks[fraction] = mask
        for name, size in (("a", 1300), ("b", 1299), ("c", 732), ("d", 1), ("e", 3)):
            kept = int(mask[np.array(table["wnid"].to_pylist()) == name].sum())
            assert abs(kept - fraction * size) <= 0.5 or (kept == 1 == size)
    assert (masks[0.8] <= masks[0.9]).all() and (masks[0.9] <= masks[0.95]).all()
    assert masks[1.0].all()
    # Sizes at which no rounding happens: exact.
    assert masks[0.95][:1300].sum() == 1235


@given(
    st.integers(0, 40),
    st.integers(0, 12),
    st.sampled_from([0.05, 0.3, 0.5, 0.8, 0.9, 0.95]),
    st.integers(0, 1000),
)
def test_each_added_row_moves_at_most_one_old_row_of_its_class(n: int, m: int, f: float, seed: int):
    old = images({"a": n, "b": 17})
    both = pa.concat_tables([images({"a": m}, start=100), old])
    before = by_id(old["image_id"], splits.stratified_fraction(old, f, seed=seed))
    after = by_id(both["image_id"], splits.stratified_fraction(both, f, seed=seed))
    moved = [name for name in before if after[name] != before[name]]
    assert len(moved) <= m
    assert not [name for name in moved if name.startswith("b")]


def test_added_rows_do_move_some():
    """The bound above is about something: with a threshold on the hash nobody would ever move."""
    old, new = images({"a": 200}), images({"a": 60}, start=200)
    both = pa.concat_tables([old, new])
    before = splits.stratified_fraction(old, 0.5).to_pylist()
    after = splits.stratified_fraction(both, 0.5).to_pylist()[:200]
    assert 0 < sum(a != b for a, b in zip(before, after, strict=True)) < 30


def test_dictionaries_and_large_strings_are_the_same_ids():
    table = images({"a": 30, "b": 9})
    mask = splits.stratified_fraction(table, 0.5)
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        other = pa.table({name: table[name].cast(kind) for name in table.column_names})
        assert splits.stratified_fraction(other, 0.5).equals(mask)


def test_what_makes_no_subset_is_refused():
    table = images({"a": 3})
    for fraction in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match="expected a number in"):
            splits.stratified_fraction(table, fraction)
    with pytest.raises(OptionError, match="seed"):
        splits.stratified_fraction(table, 0.5, seed=2**63)
    with pytest.raises(DatasetError, match=r"1 are there more than once, e.g. 'a_0'"):
        splits.stratified_fraction(pa.concat_tables([table, table.slice(0, 1)]), 0.5)
    with pytest.raises(DatasetError, match="1 are null"):
        nothing = pa.table({"image_id": pa.array([None], pa.string()), "wnid": ["a"]})
        splits.stratified_fraction(nothing, 0.5)
    with pytest.raises(DatasetError, match="no column 'worker_id'; found image_id, wnid"):
        splits.by_annotator(table, {"a": 1.0})


def test_coco_is_split_as_a_whole_or_by_page(tmp_path: Path):
    records = [
        coco_record(i, [action("add", "dog", (0.5, 0.5))], page_id=i % 3, worker_id=f"w{i % 4}")
        for i in range(60)
    ]
    records[5].pop("hit_id")
    luab_data.convert_coco(coco_log(tmp_path / "raw.json", records), tmp_path / "c", worker_key=KEY)
    ds = luab_data.load_dataset(tmp_path / "c", split="train", cache_dir=str(tmp_path / "cache"))
    table = ds.with_format("arrow")[:]
    with pytest.raises(DatasetError, match=r"no column 'wnid'.*strata= for COCO-AB"):
        splits.stratified_fraction(table, 0.8)
    with pytest.raises(OptionError, match="one value a row"):
        splits.stratified_fraction(table, 0.8, strata="icon_name")
    assert splits.stratified_fraction(table, 0.8, strata=None).true_count == 48
    assert splits.stratified_fraction(table, 0.5, strata="page_id").true_count == 30
    hits = splits.by_hit(table, {"train": 0.5, "val": 0.5}).to_pylist()
    missing = [name is None for name in hits]
    assert missing == [hit is None for hit in table["hit_id"].to_pylist()] and sum(missing) == 1
    sides = splits.by_annotator(table, {"train": 0.5, "val": 0.5})
    assert len(set(zip(table["worker_id"].to_pylist(), sides.to_pylist(), strict=True))) == 4


def test_an_image_without_a_round_is_on_no_side(tmp_path: Path):
    records = {f"n00000001_{i}": xml(f"n00000001_{i}", [block(worker=f"W{i}")]) for i in range(5)}
    records["n00000001_9"] = xml("n00000001_9", [], boxes=[(0, 0, 9, 9)])
    source = archive(tmp_path / "raw.tar.gz", records)
    luab_data.convert_imagenet(source, tmp_path / "ab", worker_key=KEY)
    (path,) = (tmp_path / "ab/data").glob("*.parquet")
    table = pq.read_table(path)
    sides = splits.by_annotator(table, {"train": 0.5, "val": 0.5}).to_pylist()
    without = table["image_id"].filter(pa.array([side is None for side in sides]))
    assert without.to_pylist() == ["n00000001_9"]
    assert splits.stratified_fraction(table, 0.5).null_count == 0
