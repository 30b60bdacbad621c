"""The fast path of COCO-AB against the slow one: the same rows or the same refusal, always."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from logs import SHARED, action, coco_record

from luab_data.errors import ArchiveError, RecordError
from luab_data.raw import coco, json_values
from luab_data.raw.coco import ALIASES, parse, raw_records, to_table
from luab_data.raw.coco_fast import CocoBatch, batches
from luab_data.raw.source import Source

RELEASE = [
    coco_record(
        i,
        [action("add", "dog", (0.25, 0.5), at=i), action("remove", "dog", None)][: 1 + i % 2],
        worker_id=f"WORKER{i % 3}",
    )
    for i in range(40)
]


def hashed(worker_id: str) -> str:
    return f"hash of {worker_id}"


class Outcome(NamedTuple):
    rows: list[str]  # exact to the bit, the sign of zero and the type of each value included
    places: list[int]
    errors: list[tuple[int, str, str, str]]
    unknown: list[tuple[int, str]]
    fatal: str
    repaired: Counter[str]


def outcome(path: Path, read: Callable[[Source], Iterator[CocoBatch]]) -> Outcome:
    tables = [coco.SCHEMA.empty_table()]
    found, fatal = Outcome([], [], [], [], "", Counter()), ""
    with Source(path) as log:
        try:
            for batch in read(log):
                assert batch.table.schema.equals(tables[0].schema, check_metadata=True)
                batch.table.validate(full=True)
                tables.append(batch.table)
                assert batch.places.dtype == np.int64
                found.places.extend(batch.places.tolist())
                found.errors.extend((p, e.where, e.rule, e.reason) for p, e in batch.errors)
                found.unknown.extend(batch.unknown)
                found.repaired.update(batch.repaired)
        except ArchiveError as error:
            fatal = str(error)
    rows = list(map(repr, pa.concat_tables(tables).to_pylist()))
    return found._replace(rows=rows, fatal=fatal)


def slow(log: Source) -> Iterator[CocoBatch]:
    """One record at a time, with Python's own JSON decoder."""
    for place, value in enumerate(raw_records(log)):
        at = np.array([place], np.int64)
        try:
            record = parse(place, value)
        except RecordError as error:
            yield CocoBatch(to_table([], hashed), at[:0], [(place, error)], [], Counter())
        else:
            unknown = [(place, key) for key in record.unknown]
            yield CocoBatch(to_table([record], hashed), at, [], unknown, Counter(record.repaired))


def fast(log: Source) -> Iterator[CocoBatch]:
    return batches(log, hashed)


def agree(path: Path) -> Outcome:
    found = outcome(path, fast)
    assert found == outcome(path, slow)
    return found


def count_plain(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the records that are read by the general path from now on."""
    indices: list[int] = []

    def counted(index: int, value: Any) -> Any:
        indices.append(index)
        return parse(index, value)

    monkeypatch.setattr(coco, "parse", counted)
    return indices


def write(path: Path, text: str | bytes, zipped: bool = False) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data, 1) if zipped else data)
    return path


def lines(records: list[Any]) -> str:
    return "\n".join(map(json.dumps, records))


# --- drawn cases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RELEASE),
        json.dumps(RELEASE, indent=1),
        json.dumps(RELEASE, separators=(",", ":")),
        lines(RELEASE),
        lines(RELEASE).replace("\n", "\r\n\r\n") + "\n",
        "\ufeff" + lines(RELEASE),
        "".join(map(json.dumps, RELEASE)),
        "\n".join(json.dumps(record, indent=2) for record in RELEASE),
    ],
)
def test_the_layouts_of_the_release_are_read_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, zipped: bool
):
    path = write(tmp_path / "log.json", text, zipped)
    assert agree(path).places == list(range(len(RELEASE)))
    plain = count_plain(monkeypatch)
    outcome(path, fast)
    # The first shows the seam, the last has none behind it.
    assert plain == [0, len(RELEASE) - 1]


@pytest.mark.parametrize(
    "values",
    [
        {"mouseTracking": [{"timeAt": 5, "x": None, "y": 0.25}, {"timeAt": 2**53 - 1, "y": 1}]},
        {"mouseTracking": None, "categoryHistories": [], "timeSpent": None, "hit_id": None},
        {"mouseTracking": [{"timeAt": i, "x": i / 7, "y": -i} for i in range(40)]},
    ],
)
def test_nulls_and_long_traces_are_fast_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
):
    path = write(tmp_path / "log.json", json.dumps([{**r, **values} for r in RELEASE]))
    assert agree(path).errors == []
    plain = count_plain(monkeypatch)
    outcome(path, fast)
    assert plain == [0, len(RELEASE) - 1]


@pytest.mark.parametrize("time", [2**53, 2**53 + 1, 2**63 - 1, 2**63, 1e18, 0.5, -0.0, 2.0])
def test_times_are_exact_or_refused_though_they_pass_through_floats(tmp_path: Path, time: float):
    trace = [{"timeAt": time, "x": 0.5, "y": 0.5}]
    agree(
        write(tmp_path / "log.json", json.dumps([{**r, "mouseTracking": trace} for r in RELEASE]))
    )


@pytest.mark.parametrize("spelling", ["page_idx", "assignment_id", "timeSpend"])
def test_the_spelling_of_the_paper_is_fast_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
):
    text = json.dumps(RELEASE).replace(ALIASES[spelling], spelling)
    path = write(tmp_path / "log.json", text)
    assert agree(path).errors == []
    plain = count_plain(monkeypatch)
    outcome(path, fast)
    assert len(plain) == 2


def edited(**values: Any) -> dict[str, Any]:
    return {**coco_record(1000, []), **values}


ODD = {
    "unknown key": edited(zoom=2),
    "unknown key in an entry": edited(mouseTracking=[{"timeAt": 5, "x": 1, "y": 0, "z": 3}]),
    "integer written as float": edited(timeSpent=12.0),
    "both spellings, equal": edited(page_idx=0),
    "both spellings": edited(page_idx=5),
    "one spelling null": edited(page_id=None, page_idx=5),
    "half a surrogate pair": edited(hit_id="\ud800"),
    "no worker": edited(worker_id=None),
    "no key of the worker": {k: v for k, v in edited().items() if k != "worker_id"},
    "no worker but spaces": edited(worker_id=" "),
    "a padded worker": edited(worker_id=" WORKER1 "),
    "an id as text": edited(image_id="1000", page_id="3", hit_id=7),
    "true as text": edited(
        categoryHistories=[
            {"categoryIndex": 1, "categoryName": "a", "timeAt": 7, "usingKeyboard": "True"}
        ]
    ),
    "an address": edited(imageURL="https://pictures/000000001000.jpg"),
    "huge integer": edited(image_id=2**70),
    "over 16 bits": edited(page_id=2**15),
    "unknown icon": edited(actionHistories=[action("add", "unicorn", (0, 0))]),
    "no pointTo": edited(actionHistories=[action("add", "dog", None)]),
    "pointTo without coordinates": edited(
        actionHistories=[{**action("add", "dog", None), "pointTo": {}}]
    ),
    "null coordinate": edited(mouseTracking=[{"timeAt": 5, "x": None, "y": 0}]),
    "null time": edited(mouseTracking=[{"timeAt": None, "x": 1, "y": 0}]),
    "null entry": edited(mouseTracking=[None]),
    "no lists": edited(mouseTracking=None, actionHistories=0, categoryHistories=""),
    "true for 1": edited(image_id=True),
    "negative zero": edited(mouseTracking=[{"timeAt": 5, "x": -0.0, "y": 0}]),
    "duplicate": edited(image_id=3),
    "no object": 7,
    "null": None,
    "an array": [edited()],
    "braces in a string": edited(hit_id='}, {"mouseTracking": ['),
}


@pytest.mark.parametrize("container", [json.dumps, lines])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_one_odd_record_leaves_the_others_on_the_fast_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: Any, container: Callable[[Any], str]
):
    monkeypatch.setattr(json_values, "RUN_CHARS", 4000)
    monkeypatch.setattr(json_values, "_LEAST_CHARS", 100)  # less than a record
    path = write(tmp_path / "log.json", container([*RELEASE[:20], odd, *RELEASE[20:]]))
    found = agree(path)
    assert len(found.places) + len(found.errors) == 41 and len(found.places) >= 40
    plain = count_plain(monkeypatch)
    outcome(path, fast)
    assert len(plain) < 12


def test_many_odd_records_leave_those_behind_on_the_fast_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_values, "RUN_CHARS", 4000)
    monkeypatch.setattr(json_values, "_LEAST_CHARS", 100)  # less than a record
    odd = [{**record, "zoom": 1} for record in RELEASE]
    path = write(tmp_path / "log.json", json.dumps(odd + [r for r in RELEASE for _ in range(5)]))
    assert len(agree(path).places) == 240
    plain = count_plain(monkeypatch)
    outcome(path, fast)
    assert len(plain) < 100


def test_both_orders_of_keys_that_the_release_mixes(tmp_path: Path):
    swapped = [dict(reversed(record.items())) for record in RELEASE]
    mixed = [(swapped if i % 3 else RELEASE)[i] for i in range(40)]
    assert len(agree(write(tmp_path / "log.json", json.dumps(mixed))).places) == 40


def test_a_log_of_odd_records_is_soon_read_without_trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write(tmp_path / "log.json", json.dumps([{**r, "zoom": 1} for r in RELEASE]))
    tries: list[int] = []
    check = json_values.Runs._run

    def counted(self: Any, *arguments: Any) -> Any:
        tries.append(self._wait == 0 and bool(self._seam))
        return check(self, *arguments)

    monkeypatch.setattr(json_values.Runs, "_run", counted)
    found = agree(path)
    assert found.unknown == [(i, "zoom") for i in range(40)]
    assert sum(tries) < 2 * 8


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, the real excerpts")
@pytest.mark.parametrize("name", ["release-excerpts/coco_ab_rows.json", "raw/coco_ab_tiny.json"])
def test_the_real_records(name: str, tmp_path: Path):
    found = agree(write(tmp_path / "log.json", (SHARED / "data" / name).read_bytes()))
    assert len(found.places) >= 2


# --- batches -------------------------------------------------------------------------------------


def with_bad_ones() -> list[Any]:
    records: list[Any] = list(RELEASE)
    for place in (0, 7, 16, 17, 25):
        records.insert(place, {"image_id": place})
    return [*records, RELEASE[3], 5]


@pytest.mark.parametrize("chars", [300, 2000, 2**17])
@pytest.mark.parametrize("size", [1, 7, 47, 100])
@pytest.mark.parametrize("container", [json.dumps, lines])
def test_batches_of_any_size_hold_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chars: int,
    size: int,
    container: Callable[[Any], str],
):
    monkeypatch.setattr(json_values, "RUN_CHARS", chars)
    path = write(tmp_path / "log.json", container(with_bad_ones()))
    assert outcome(path, lambda log: batches(log, hashed, size=size)) == outcome(path, slow)


def test_records_before_a_broken_spot_come_before_the_error(tmp_path: Path):
    text = json.dumps([*RELEASE[:30], 5])[:-1] + ", {"
    with Source(write(tmp_path / "log.json", text)) as log:
        found = batches(log, hashed, size=40)
        batch = next(found)
        assert batch.places.tolist() == list(range(30))
        assert [place for place, _ in batch.errors] == [30]
        with pytest.raises(ArchiveError, match=r"at character \d+: not JSON, or the file is cut"):
            next(found)


# --- generated layouts ---------------------------------------------------------------------------

INTEGERS = ["0", "-0", "7", "12000", "32767", "32768", "2147483648", "9223372036854775807", "1.0"]
INTEGERS += ["1e2", "9223372036854775808", "-9223372036854775808", "1.5", "1e400", "true", "null"]
INTEGERS += ['"7"', "-0.0"]
FLOATS = ["0", "-0", "-0.0", "-0e5", "1", "1e-7", "1E+2", "1e400", "-1e400", "null", "5e-324", "{}"]
FLOATS += ["9007199254740993", "0.1000000000000000055511151231257827", "2.2250738585072011e-308"]
FLOATS += ["true", '"0.5"', "1" + "0" * 400, "18446744073709551617"]
STRINGS = [
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    '"\\/"',
    '"}, {\\""',
    "3",
    "null",
    '"}, {"',
]
STRINGS += ['"\x7f"', '"}, {\\"image_id\\": "']
LISTS = ["null", "{}", "0", "[null]", "[[]]", '""', "[{}]"]
BROKEN = [
    "01",
    "1.",
    "+1",
    "-",
    "NaN",
    "-Infinity",
    '"\\x"',
    '"a\nb"',
    '"',
    '"\x00"',
    "[",
    "}",
    "1" * 4400,
]

floats = st.one_of(
    st.floats(-0.1, 1.1).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(FLOATS),
)
strings = st.one_of(
    st.text(max_size=6).map(json.dumps),
    st.text(st.characters(codec="utf-8"), max_size=6).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
    st.sampled_from(STRINGS),
)
integers = st.sampled_from(INTEGERS)
space = st.sampled_from(["", " ", "\n", "\t", "\r\n  "])


class Writer:
    """JSON text with the layout drawn on the way; mostly as the release has it."""

    def __init__(self, draw: Any, oddness: int, broken: bool) -> None:
        self.draw = draw
        self.oddness = oddness
        self.broken = broken

    def odd(self) -> bool:
        return bool(self.oddness) and self.draw(st.integers(0, 99)) < self.oddness

    def leaf(self, usual: str, others: Any) -> str:
        if not self.odd():
            return usual
        return str(self.draw(st.sampled_from(BROKEN) | others if self.broken else others))

    def gap(self) -> str:
        return str(self.draw(space)) if self.odd() else ""

    def object(self, fields: dict[str, str]) -> str:
        pairs = list(fields.items())
        if self.odd():
            pairs = self.draw(st.permutations(pairs))
        if pairs and self.odd():
            pairs.pop(self.draw(st.integers(0, len(pairs) - 1)))
        if pairs and self.odd():
            key = self.draw(
                st.sampled_from([*fields, "zoom", "page_idx", "assignment_id", "\ud800"])
            )
            pairs.insert(self.draw(st.integers(0, len(pairs))), (key, self.draw(floats)))
        texts = [
            f"{self.gap()}{self.key(key)}{self.gap()}:{self.gap() or ' '}{value}{self.gap()}"
            for key, value in pairs
        ]
        return "{" + ", ".join(texts) + "}"

    def key(self, key: str) -> str:
        if self.odd():
            return '"' + "".join(f"\\u{ord(c):04x}" for c in key) + '"'
        return json.dumps(key)

    def list(self, items: list[str]) -> str:
        if self.odd():
            return str(self.draw(st.sampled_from(LISTS)))
        return "[" + f",{self.gap()} ".join(items) + "]"

    def point(self) -> str:
        if self.odd():
            return str(self.draw(st.sampled_from(["null", "{}", "3", "[]", '{"x": 1}'])))
        return self.object({"x": self.leaf("0.5", floats), "y": self.leaf("0.25", floats)})

    def record(self) -> str:
        image_id = str(self.draw(st.integers(0, 30)))
        trace = [
            self.object(
                {
                    "timeAt": self.leaf("5", integers),
                    "x": self.leaf("0.25", floats),
                    "y": self.leaf("-0.0", floats),
                }
            )
            for _ in range(self.draw(st.integers(0, 2)))
        ]
        actions = [
            self.object(
                {
                    "actionType": self.leaf('"add"', st.sampled_from(['"move"', '"drop"', "null"])),
                    "iconType": self.leaf('"dog"', strings),
                    "pointFrom": "null",
                    "pointTo": self.point(),
                    "timeAt": self.leaf("7", integers),
                }
            )
            for _ in range(self.draw(st.integers(0, 2)))
        ]
        categories = [
            self.object(
                {
                    "categoryIndex": self.leaf("3", integers),
                    "categoryName": self.leaf('"Animal"', strings),
                    "timeAt": "9",
                    "usingKeyboard": self.leaf("false", st.sampled_from(["true", "0", "null"])),
                }
            )
        ]
        return self.object(
            {
                "image_id": self.leaf(image_id, integers),
                "imageWidth": self.leaf("450", integers),
                "actionHistories": self.list(actions),
                "categoryHistories": self.list(categories),
                "mouseTracking": self.list(trace),
                "worker_id": self.leaf('"00AA3B5E80"', strings),
                "page_id": self.leaf("3", integers),
                "hit_id": self.leaf('"a"', strings),
            }
        )


@st.composite
def logs(draw: Any) -> str:
    writer = Writer(draw, draw(st.sampled_from([0, 1, 1, 2, 4])), draw(st.integers(0, 4)) == 0)
    records = [writer.record() for _ in range(draw(st.integers(1, 12)))]
    if writer.odd():
        records.insert(
            draw(st.integers(0, len(records))), draw(st.sampled_from(["3", "null", "[]"]))
        )
    if draw(st.booleans()):
        return "".join(record + draw(st.sampled_from(["\n", "\r\n", "\n\n"])) for record in records)
    text = "".join(
        (draw(st.sampled_from([", ", ",\n"])) if i and writer.odd() else ", " if i else "") + record
        for i, record in enumerate(records)
    )
    return f"[{text}]{writer.gap()}"


@st.composite
def cut(draw: Any) -> dict[tuple[Any, str], int]:
    """Sizes of chunks and runs: from those that cut every token to those of real use."""
    return {
        (json_values, "_CHUNK"): draw(st.sampled_from([1, 2, 3, 7, 64, 500, 2**20])),
        (json_values, "RUN_CHARS"): draw(st.sampled_from([1, 50, 700, 2000, 2**17, 2**17])),
        (json_values, "_LEAST_CHARS"): draw(st.sampled_from([1, 700, 2000])),
    }


def agree_however_cut(folder: Path, data: bytes, sizes: dict[Any, int], zipped: bool) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), size in sizes.items():
            patch.setattr(module, name, size)
        return agree(write(folder / "log.json", data, zipped))


@settings(max_examples=150)
@given(logs(), cut(), st.booleans())
def test_generated_layouts_give_the_same_rows_or_the_same_refusal(
    tmp_path_factory: Any, text: str, sizes: dict[Any, int], zipped: bool
):
    folder = tmp_path_factory.mktemp("log")
    agree_however_cut(folder, text.encode("utf-8", "surrogatepass"), sizes, zipped)


PIECES = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b" ", b"\x00", b"\xff", b"\xc3"]
PIECES += [b"}, {", b"}\n{", b"]}", b"null", b"NaN", b"-", b"e5", b".", b"0", b"\\ud800", b"1" * 30]
PIECES += [b'}, {"mouseTracking": ', b"\xef\xbb\xbf"]


@st.composite
def damaged(draw: Any) -> bytes:
    """A valid log after a few edits."""
    records = RELEASE[: draw(st.integers(1, 12))]
    data = (json.dumps(records) if draw(st.booleans()) else lines(records)).encode()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["insert", "delete", "replace", "repeat", "cut"]))
        length = draw(st.integers(1, 40))
        piece = draw(st.sampled_from(PIECES) | st.binary(min_size=1, max_size=4))
        if kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + length :]
        elif kind == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "repeat":
            data = data[: at + length] + data[at:]
        else:
            data = data[:at]
    return data


@settings(max_examples=250)
@given(damaged() | st.binary(max_size=40), cut(), st.booleans())
def test_damaged_logs_give_the_same_rows_or_the_same_refusal(
    tmp_path_factory: Any, data: bytes, sizes: dict[Any, int], zipped: bool
):
    agree_however_cut(tmp_path_factory.mktemp("log"), data, sizes, zipped)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans(), cut())
def test_damaged_gzip_gives_the_same_rows_or_the_same_refusal(
    tmp_path_factory: Any, at: int, flip: int, whole: bool, sizes: dict[Any, int]
):
    data = bytearray(gzip.compress(json.dumps(RELEASE).encode(), 1))
    data[at % len(data)] ^= flip
    folder = tmp_path_factory.mktemp("log")
    agree_however_cut(folder, bytes(data if whole else data[: at % len(data)]), sizes, False)
