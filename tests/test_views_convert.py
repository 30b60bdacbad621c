"""Open logs to dataset folders: views of one image come together, one decides, nothing is lost."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from logs import KEY, files
from test_views_log import view, written

import luab_data
from luab_data.cli import main
from luab_data.errors import ArchiveError, OptionError, OutputError, RecordError
from luab_data.store.folder import read_manifest
from luab_data.views import grouping
from luab_data.views import lines as lines_module
from luab_data.views.grouping import grouped


def seen(
    image: str, label: str = "cat", who: str = "ann", *, selects: bool | None = True, x: float = 0.5
) -> dict[str, Any]:
    """A view with one click, which selects or deselects; none for None."""
    click = {"type": "click", "t": 1, "x": x, "y": 0.25, "state": selects}
    return view(
        image={"id": image},
        asked={"class": label},
        session=f"s-{who}",
        annotator=who,
        events=[] if selects is None else [click],
    )


def tagged(image: str, *labels: str, who: str = "ann", offered: Any = None) -> dict[str, Any]:
    adds = [{"type": "add", "t": k, "x": 0.5, "y": 0.5, "label": n} for k, n in enumerate(labels)]
    return view(
        kind="tagging", image={"id": image}, asked={"classes": offered}, session=f"s-{who}",
        annotator=who, events=adds,
    )  # fmt: skip


def convert(path: Path, out: Path, **options: Any) -> luab_data.views.convert.Converted:
    kind = options.pop("kind", "browsing")
    verb = {"browsing": luab_data.convert_browsing, "tagging": luab_data.convert_tagging}[kind]
    return verb(path, out, worker_key=KEY, **options)


# --- grouping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 7, 4096])
def test_rows_of_one_image_come_together_from_wherever_they_are(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Against a dictionary; null is a value, and one image may be larger than a group."""
    monkeypatch.setattr(grouping, "VIEWS_AT_ONCE", at_once)
    rng = random.Random(3)
    names = [None, "a", "b", "c", *map(str, range(30))]
    rows = [(rng.choice(names), rng.choice("uv"), k) for k in range(300)]
    rows += [("big", "u", k) for k in range(300, 320)]
    rng.shuffle(rows)
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    table = pa.table(columns, ["image", "label", "number"])
    cuts = [0, 0, 5, 6, 100, 100, 250, len(table)]
    pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(cuts)]

    expected: dict[Any, list[int]] = {}
    for image, label, number in rows:
        expected.setdefault((label, image), []).append(number)
    file = tmp_path / "waiting.arrow"
    found = []
    for group in grouped(pieces, ("label", "image"), file):
        assert file.exists() and len(group.table) == group.bounds[-1]
        numbers = group.table["number"].to_pylist()
        some = [numbers[a:b] for a, b in itertools.pairwise(group.bounds)]
        assert len(group.table) <= at_once or len(some) == 1
        found += some
    assert found == [*expected.values()] and not file.exists()
    assert [*grouped([table.slice(0, 0)], ("image",), file)] == [] and not file.exists()


def test_a_spread_log_is_the_same_dataset_as_a_sorted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Views of an image keep their order, whatever is between them and however it is cut."""
    rng = random.Random(5)
    images = [(f"{k % 40}", "cat" if k % 2 else "Käse") for k in range(60)]
    by_image = [
        [seen(i, c, f"w{n}", selects=rng.choice([True, False, None]), x=rng.random())
         for n in range(rng.randint(1, 4))]
        for i, c in dict.fromkeys(images)
    ]  # fmt: skip
    apart = [v for v in itertools.chain(*itertools.zip_longest(*by_image)) if v is not None]
    beside = list(itertools.chain(*by_image))
    one = convert(written(tmp_path, *beside), tmp_path / "one")
    monkeypatch.setattr(lines_module, "BATCH_BYTES", 500)
    monkeypatch.setattr(grouping, "VIEWS_AT_ONCE", 5)
    two = convert(written(tmp_path, *apart), tmp_path / "two")
    assert one.content_digest == two.content_digest
    assert one.num_rows == {
        "default": len(by_image), "rounds": len(beside), "annotators": len(
            {v["annotator"] for v in beside}
        ),
    }  # fmt: skip
    rounds = luab_data.read_table(two.out, "rounds").to_pylist()
    expected = [v for some in by_image for v in some]
    told = [
        (r["wnid"], r["assignment_id"], [*r["selected_record_x"]], r["selected"]) for r in rounds
    ]
    assert told == [
        (v["asked"]["class"], v["session"], [e["x"] for e in v["events"] if e["state"]],
         any(e["state"] for e in v["events"]))
        for v in expected
    ]  # fmt: skip
    numbers = [n + 1 for some in by_image for n in range(len(some))]
    assert [r["round"] for r in rounds] == numbers
    assert {p.name for p in two.out.rglob("*") if p.is_file()} == {
        p.name for p in one.out.rglob("*") if p.is_file()
    }


def test_grouping_does_not_hold_the_log(tmp_path: Path):
    """Rows wait on the disk: of 64 MiB no more than a few are in memory at a time."""
    wide = pa.array([[0.5] * 1024] * 256)
    pieces = (
        pa.table({"image": pa.array([f"{k}" for k in range(256)]), "x": wide}) for _ in range(32)
    )
    before, most = pa.total_allocated_bytes(), 0
    num_rows = 0
    for group in grouped(pieces, ("image",), tmp_path / "waiting.arrow"):
        most = max(most, pa.total_allocated_bytes() - before)
        num_rows += len(group.table)
    assert num_rows == 256 * 32
    # A group of 4096 rows is half of these; larger logs have larger shares left on the disk.
    assert most < 45 * 2**20


# --- which view decides --------------------------------------------------------------------------

RULES: list[tuple[str, dict[str, tuple[bool, int]]]] = [
    ("T", {"last": (True, 1), "majority": (True, 1), "all": (True, 1), "any": (True, 1)}),
    ("F", {"last": (False, 1), "majority": (False, 1), "all": (False, 1), "any": (False, 1)}),
    ("TF", {"last": (False, 2), "majority": (False, 2), "all": (False, 2), "any": (True, 1)}),
    ("FT", {"last": (True, 2), "majority": (False, 1), "all": (False, 1), "any": (True, 2)}),
    ("TFT", {"last": (True, 3), "majority": (True, 3), "all": (False, 2), "any": (True, 3)}),
    ("TTF", {"last": (False, 3), "majority": (True, 2), "all": (False, 3), "any": (True, 2)}),
    ("FFT", {"last": (True, 3), "majority": (False, 2), "all": (False, 2), "any": (True, 3)}),
]
"""How the views of an image ended -> rule -> (whether it is selected, the view that decides)."""


@pytest.mark.parametrize("rule", ["last", "majority", "all", "any"])
def test_the_rules_by_hand(rule: Any, tmp_path: Path):
    log = [
        seen(ended, who=f"{number}", selects=letter == "T", x=number / 10)
        for ended, _ in RULES
        for number, letter in enumerate(ended, start=1)
    ]
    done = convert(written(tmp_path, *log), tmp_path / "d", deciding=rule)
    rows = luab_data.read_table(done.out).to_pylist()
    found = {r["image_id"]: (r["selected"], int(r["assignment_id"][2:])) for r in rows}
    assert found == {ended: rules[rule] for ended, rules in RULES}
    clicks = {r["image_id"]: r["final_click_x"] for r in rows}
    assert clicks == {
        ended: rules[rule][1] / 10 if rules[rule][0] else None for ended, rules in RULES
    }
    assert read_manifest(done.out)["deciding"] == rule
    assert luab_data.check(done.out).whole


@pytest.mark.parametrize(("rule", "labels"), [("last", {"bird"}), ("majority", {"cat", "dog"})])
def test_the_rules_of_tagging(rule: Any, labels: set[str], tmp_path: Path):
    log = [
        tagged("a", "cat", "dog", who="1"),
        tagged("b", "bird", who="1"),
        tagged("a", "dog", "cat", who="2"),
        tagged("a", "bird", who="3"),
    ]
    done = convert(written(tmp_path, *log), tmp_path / "d", kind="tagging", deciding=rule)
    rows = {row["image_id"]: row for row in luab_data.read_table(done.out).to_pylist()}
    assert {*rows["a"]["icon_name"]} == labels and {*rows["b"]["icon_name"]} == {"bird"}
    assert rows["a"]["view"] == {"last": 3, "majority": 2}[rule]
    assert done.num_rows == {"default": 2, "actions": 4, "annotators": 3}


# --- classes -------------------------------------------------------------------------------------


def test_classes_are_given_or_those_of_the_log(tmp_path: Path):
    log = written(tmp_path, seen("1", "dog"), seen("2", unicodedata.normalize("NFD", "Käse")))
    assert read_manifest(convert(log, tmp_path / "a").out)["classes"] == ["Käse", "dog"]
    given = tmp_path / "classes.txt"
    given.write_text(
        f"\ufeffdog\n\n  {unicodedata.normalize('NFD', 'Käse')} \nzebra\n", encoding="utf-8"
    )
    done = convert(log, tmp_path / "b", classes=given)
    assert read_manifest(done.out)["classes"] == ["Käse", "dog", "zebra"]
    labels = luab_data.read_table(done.out).select(["image_id", "label", "wnid"]).to_pylist()
    assert labels == [
        {"image_id": "1", "label": 1, "wnid": "dog"},
        {"image_id": "2", "label": 0, "wnid": "Käse"},
    ]
    with pytest.raises(RecordError, match=r"line 1: the class 'dog' is none of the 2 that were"):
        convert(log, tmp_path / "c", classes=["dig", "Käse"])
    done = convert(log, tmp_path / "c", classes=["dig", "Käse"], on_bad="skip")
    assert done.skipped == {"unknown-class": 1} and done.num_rows["default"] == 1
    nameless = written(tmp_path, view(asked={"prompt": "Where?"}))
    with pytest.raises(RecordError, match=r"line 1: says of no class .*\[missing"):
        convert(nameless, tmp_path / "e")


def test_a_vocabulary_is_given_offered_or_used(tmp_path: Path):
    log = [tagged("1", "dog"), tagged("2", "cat", "ant")]
    path = written(tmp_path, *log)
    assert _classes(convert(path, tmp_path / "a", kind="tagging")) == ["ant", "cat", "dog"]
    offered = [{**v, "asked": {"classes": ["dog", "cat", "ant", "yak"]}} for v in log]
    path = written(tmp_path, *offered)
    assert _classes(convert(path, tmp_path / "b", kind="tagging")) == ["dog", "cat", "ant", "yak"]
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"pets": ["dog", "cat"], "others": ["ant"]}))
    done = convert(path, tmp_path / "c", kind="tagging", classes=file)
    assert _classes(done) == ["dog", "cat", "ant"]
    assert read_manifest(done.out)["superclasses"] == {"pets": ["dog", "cat"], "others": ["ant"]}
    odd = tagged("3", "dog", "emu")
    path = written(tmp_path, *log, odd)
    options: dict[str, Any] = {"kind": "tagging", "classes": ["dog", "cat", "ant"]}
    with pytest.raises(RecordError, match="line 3: the class 'emu' is none of the 3"):
        convert(path, tmp_path / "d", **options)
    done = convert(path, tmp_path / "d", on_bad="skip", **options)
    assert done.skipped == {"unknown-class": 1} and done.num_rows["actions"] == 2


def _classes(done: Any) -> Any:
    return read_manifest(done.out)["classes"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no class"),
        (b"\n \n", "has no class"),
        (b"[]", "has no class"),
        (b"{}", "has no class"),
        (b"dog\ndog\n", "dog"),
        (b'["dog", 3]', "cannot read the classes"),
        (b'{"pets": "dog"}', "cannot read the classes"),
        (b"\xff", "cannot read the classes"),
        (None, "No such file"),
    ],
)
def test_a_file_of_classes_that_is_none(content: bytes | None, said: str, tmp_path: Path):
    json_like = content is not None and content[:1] in (b"[", b"{")
    file = tmp_path / ("classes.json" if json_like else "classes.txt")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OptionError, match=said):
        convert(written(tmp_path, seen("1")), tmp_path / "d", classes=file)
    assert not (tmp_path / "d").exists()


# --- what conversions of the releases hold, these hold -------------------------------------------


def test_however_it_is_packed_it_is_one_dataset(tmp_path: Path):
    path = written(tmp_path, seen("1"), seen("2", who="bob"))
    content = path.read_bytes()
    packed = {
        "plain.jsonl": content,
        "log.jsonl.gz": gzip.compress(content),
        "two-members.gz": gzip.compress(content[:50]) + gzip.compress(content[50:]),
        "log.jsonl.zst": pa.compress(content, "zstd", asbytes=True),
        "crlf.jsonl": content.replace(b"\n", b"\r\n"),
    }
    digests = set()
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        digests.add(convert(tmp_path / name, tmp_path / f"{name}.ab").content_digest)
    assert len(digests) == 1


def test_bad_lines_are_left_out_and_listed_without_ids(tmp_path: Path):
    bad = {**seen("2", who="ann@lab.example"), "kind": "ann@lab.example"}
    path = written(tmp_path, seen("1"), bad, b"{", tagged("3", "cat"), seen("4"))
    with pytest.raises(RecordError, match=r"line 2: .*--on-bad skip") as refused:
        convert(path, tmp_path / "d")
    assert not (tmp_path / "d").exists()
    done = convert(path, tmp_path / "d", on_bad="skip")
    assert done.skipped == {"not-a-view": 1, "json-syntax": 1, "other-kind": 1}
    listed = (done.out / "skipped.jsonl").read_text()
    assert [json.loads(line)["where"] for line in listed.splitlines()] == [
        "line 2", "line 3", "line 4",
    ]  # fmt: skip
    assert "lab.example" not in listed + str(refused.value)
    assert luab_data.check(done.out).whole
    with pytest.raises(ArchiveError, match=r"log\.jsonl: empty; expected a log with some"):
        convert(written(tmp_path), tmp_path / "e")
    with pytest.raises(ArchiveError, match=r"no usable record among 1 .*The first: line 1"):
        convert(written(tmp_path, b"{}"), tmp_path / "e", on_bad="skip")


def test_the_same_job_is_known_and_another_needs_force(tmp_path: Path):
    path, out = written(tmp_path, seen("1"), seen("1", who="bob", selects=None)), tmp_path / "d"
    before = convert(path, out)
    kept = files(out)
    assert convert(path, out).is_same and files(out) == kept
    for change in ({"deciding": "last"}, {"title": "Other"}, {"classes": ["cat", "dog"]}):
        with pytest.raises(OutputError, match="--force"):
            convert(path, out, **change)
        assert files(out) == kept
    assert convert(path, out, deciding="last", force=True).num_rows == before.num_rows
    assert read_manifest(out)["deciding"] == "last"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError):
        convert(path, tmp_path / "mine", force=True)


def test_a_failed_conversion_leaves_the_old_dataset_and_nothing_else(tmp_path: Path):
    out = tmp_path / "d"
    convert(written(tmp_path, seen("1")), out)
    kept = files(out)
    with pytest.raises(RecordError):
        convert(written(tmp_path, *(seen(f"{k}") for k in range(99)), b"{"), out, force=True)
    cut = gzip.compress(written(tmp_path, *(seen(f"{k}") for k in range(999))).read_bytes())[:-99]
    (tmp_path / "cut.gz").write_bytes(cut)
    with pytest.raises(ArchiveError, match=r"cut\.gz: cannot be read behind line \d+: cut or dam"):
        convert(tmp_path / "cut.gz", out, force=True)
    assert files(out) == kept
    assert {p.name for p in tmp_path.iterdir()} == {"d", "log.jsonl", "cut.gz"}


def test_people_are_hashed_and_nobody_is_nobody(tmp_path: Path):
    names = ["ann@lab.example", " ann@lab.example ", "", "  ", None, "bob@lab.example"]
    log = [{**seen(f"{k}"), "annotator": who, "session": None} for k, who in enumerate(names)]
    done = convert(written(tmp_path, *log), tmp_path / "d")
    ids = luab_data.read_table(done.out, "rounds")["worker_id"].to_pylist()
    assert ids[0] == ids[1] and ids[2:5] == [None] * 3 and ids[5] not in (None, ids[0])
    assert done.num_rows["annotators"] == 2
    for file in done.out.rglob("*"):
        if file.is_file():
            assert b"lab.example" not in file.read_bytes(), file


def test_ids_are_unique_within_their_class(tmp_path: Path):
    log = [seen("IMG 1", "cat"), seen("IMG 1", "dog"), seen("IMG 1", "cat", "bob")]
    done = convert(written(tmp_path, *log), tmp_path / "d")
    rows = luab_data.read_table(done.out).to_pylist()
    assert [(r["image_id"], r["wnid"], r["num_rounds"]) for r in rows] == [
        ("IMG 1", "cat", 2),
        ("dog_IMG 1", "dog", 1),
    ]


def test_the_command_says_what_it_left_out(tmp_path: Path):
    more = {f"x{k}": 1 for k in range(25)}
    path = written(tmp_path, {**seen("1"), "selectd": True, **more}, seen("2"))
    command = ["convert", "browsing", str(path), "--out", str(tmp_path / "d"), "--title", "Cats"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "rows: default 2, rounds 2, annotators 1" in done.output
    assert "left out, not known or not asked for: selectd 1, x0 1, " in done.output
    assert ", x18 1 and 6 more\n" in done.output
    manifest = read_manifest(tmp_path / "d")
    assert manifest["collection"] == {"title": "Cats", "source": "own"}
    assert manifest["unknown"] == {"selectd": 1, **more}
    assert np.isclose(manifest["fidelity"]["has_annotator"], 2)
