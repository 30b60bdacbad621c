"""The table of a result: in a notebook, as a frame, as a file."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simulated
from logs import luab

import luab_data
from luab_data.errors import LuabError, OptionError, OutputError
from luab_data.results import Tabular, new_table

TABLE = pa.table({"name": ["a", "b<"], "value": [0.5, None], "words": [["x", "y"], []]})


@dataclass(frozen=True)
class Found(Tabular):
    rows: int = 1

    def __repr__(self) -> str:
        return "<Found: 2 things>"

    def to_table(self) -> pa.Table:
        return pa.concat_tables([TABLE] * self.rows)


def write(out: Path, table: pa.Table = TABLE, *, force: bool = False) -> bool:
    with new_table(out, verb="luab-data try", first="name", force=force) as put:
        target = put(table)
        assert target is not None
    return target.same


def test_a_result_shows_its_words_and_first_rows():
    html = Found()._repr_html_()
    assert html.startswith("<p>&lt;Found: 2 things&gt;</p><table><tr><th>name</th>")
    assert "b&lt;" in html and "0.5" in html and "more" not in html
    assert "<p>and 2 rows more</p>" in Found(11)._repr_html_()
    assert Found().to_frame()["name"].tolist() == ["a", "b<"]


def test_a_table_is_the_same_in_every_format(tmp_path: Path):
    for suffix in ("csv", "json", "parquet"):
        assert not write(tmp_path / f"t.{suffix}")
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == TABLE.to_pylist()
    assert json.loads((tmp_path / "t.json").read_text()) == TABLE.to_pylist()
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [*csv.reader(file)] == [
            ["name", "value", "words"],
            ["a", "0.5", "x; y"],
            ["b<", "", ""],
        ]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_table_of_ours_is_replaced_with_force_only(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / f"t.{suffix}"
    write(out)
    assert write(out), "the same again"
    assert "same content; nothing was written" in capsys.readouterr().err
    with pytest.raises(OutputError, match="--force"):
        write(out, TABLE.slice(1))
    write(out, TABLE.slice(1), force=True)
    out.write_bytes(b"something else")
    with pytest.raises(OutputError, match="did not write it"):
        write(out, force=True)
    assert out.read_bytes() == b"something else"


def test_a_name_that_says_no_format_is_refused_before_the_work(tmp_path: Path):
    with (
        pytest.raises(OptionError, match=r"expected \.csv or \.json or \.parquet"),
        new_table(tmp_path / "t.xlsx", verb="luab-data try", first="name"),
    ):
        pytest.fail("the work began")


# --- every verb with a table ---------------------------------------------------------------------

VERBS: dict[str, dict[str, Any]] = {
    "stats": {"only": ["num_images", "click_accuracy", "entry_side"], "resamples": 20},
    "annotators": {},
    "accept": {},
    "calibrate": {},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated.imagenet_ab(tmp_path_factory.mktemp("results"), num_images=120)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_writes_its_table_by_one_policy(folder: Path, tmp_path: Path, verb: str):
    suffixes = [".parquet"] if verb == "calibrate" else [".csv", ".json", ".parquet"]
    ask = partial(getattr(luab_data, verb), folder, **VERBS[verb])
    for suffix in suffixes:
        out = tmp_path / "new" / f"made{suffix}"
        found = ask(out=out)
        ask(out=out)  # the same again is no change
        assert [path.name for path in out.parent.iterdir()] == [out.name]
        out.rename(tmp_path / out.name)
    table = pq.read_table(tmp_path / "made.parquet")
    if verb != "calibrate":  # whose file has the points
        assert table.equals(found.to_table())
        with (tmp_path / "made.csv").open(newline="") as file:
            rows = [*csv.DictReader(file)]
        assert [*rows[0]] == table.column_names and len(rows) == len(table)
    ours = tmp_path / "made.parquet"
    pq.write_table(
        table.slice(1).replace_schema_metadata({"written_by": f"luab-data {verb}"}), ours
    )
    with pytest.raises(OutputError, match="--force"):
        ask(out=ours)
    ask(out=ours, force=True)
    assert pq.read_table(ours).equals(table)
    ours.write_text("somebody's")
    with pytest.raises(OutputError, match="did not write it"):
        ask(out=ours, force=True)
    assert ours.read_text() == "somebody's"
    for out, said in ((tmp_path / "x.txt", "expected .*parquet"), (folder / "x.parquet", "inside")):
        with pytest.raises(LuabError, match=said):
            ask(out=out)
        assert not out.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_every_result_is_one_line_a_table_or_a_frame(folder: Path, verb: str):
    found = getattr(luab_data, verb)(folder, **VERBS[verb])
    assert "\n" not in repr(found) and len(found.to_frame()) == len(found.to_table())
    assert found._repr_html_().count("<table>") == 1
    done = luab(verb, folder.parent / "nothing")
    assert done.exit_code == 1 and done.stderr.startswith("Error: no dataset")
