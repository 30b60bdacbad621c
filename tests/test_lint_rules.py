"""Every lint rule: one drawn record that breaks it, one clean record, and a slow reference."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import KEY, action, archive, block, coco_log, coco_record, xml

import luab_data
from luab_data.checks.check import check
from luab_data.checks.lint import Lint, Window, chosen
from luab_data.errors import OptionError
from luab_data.kinds import BROWSING, KINDS, TAGGING, Kind
from luab_data.tools import COCO_CATEGORIES, COCO_CLASSES, COCO_SUPERCLASSES

SUPERCLASSES = list(COCO_SUPERCLASSES)
T0 = 1_640_000_000_000
Row = dict[str, Any]


def seen(**other: Any) -> Row:
    """A metadata block that no rule finds odd: enter, three moves, a click, leave, submit."""
    values: Row = {
        "hovered": [("enter", T0), ("leave", T0 + 900)],
        "trace": [(T0, 0.1, 0.1), (T0 + 400, 0.3, 0.3), (T0 + 790, 0.5, 0.5)],
        "clicks": [(T0 + 800, 0.5, 0.5)],
        "submit": T0 // 1000 + 60,
        "estimateTime": 700,
        "imageWidth": 240,
        "imageHeight": 120,
        "originalImageWidth": 400,
        "originalImageHeight": 200,
    }
    return block(**{**values, **other})


def image(name: str, *blocks: Row, box: tuple[float, ...] = (0, 0, 90, 100)) -> bytes:
    return xml(name, list(blocks), boxes=[box], size=(400, 200))


LATER = {"submit": T0 // 1000 + 90, "assignment_id": "3B"}
UNSEEN = {"selected": False, "clicks": [], "trace": [], "hovered": [], "hoveredCount": 0}
UNSEEN["estimateTime"] = 0

IMAGENET_BROKEN: dict[str, Callable[[str], bytes]] = {
    "click-outside": lambda i: image(i, seen(clicks=[(T0 + 800, 1.01, 0.5)])),
    "trace-outside": lambda i: image(i, seen(trace=[(T0, 0.5, -0.01)])),
    "time-backwards": lambda i: image(i, seen(trace=[(T0 + 9, 0.1, 0.1), (T0 + 8, 0.1, 0.1)])),
    "click-without-enter": lambda i: image(i, seen(hovered=[("enter", T0 + 801)])),
    "trace-without-enter": lambda i: image(i, seen(hovered=[("enter", T0 + 1)])),
    "enter-leave-order": lambda i: image(
        i, seen(hovered=[("enter", T0), ("enter", T0 + 500)], hoveredCount=2)
    ),
    "trace-after-click": lambda i: image(i, seen(trace=[(T0 + 801, 0.5, 0.5)])),
    "parity": lambda i: image(i, seen(selected=False)),
    "selected-without-click": lambda i: image(i, seen(clicks=[])),
    "click-count": lambda i: image(i, seen(selectedCount=2)),
    "hover-count": lambda i: image(i, seen(hoveredCount=2)),
    "click-without-trace": lambda i: image(i, seen(trace=[])),
    "no-interaction": lambda i: image(i, seen(**UNSEEN)),
    "negative-estimate": lambda i: image(i, seen(estimateTime=-1)),
    "estimate-too-long": lambda i: image(i, seen(estimateTime=901)),
    "submit-before-activity": lambda i: image(i, seen(submit=T0 // 1000 - 1)),
    "time-far-from-submit": lambda i: image(i, seen(submit=T0 // 1000 + 86_401)),
    "zero-size": lambda i: image(i, seen(imageWidth=0)),
    "size-disagrees": lambda i: image(i, seen(originalImageWidth=402)),
    "size-swapped": lambda i: image(
        i,
        seen(originalImageWidth=200, originalImageHeight=400, imageWidth=120, imageHeight=240),
    ),
    "size-on-page": lambda i: image(i, seen(imageWidth=326, imageHeight=163)),
    "width-copies-height": lambda i: image(i, seen(imageWidth=120)),
    "equal-submit-times": lambda i: image(i, seen(**UNSEEN), seen(assignment_id="3B")),
    "duplicate-assignment": lambda i: image(
        i, seen(**UNSEEN), seen(submit=T0 // 1000 + 90), seen(**{**LATER, "submit": T0})
    ),
    "shown-after-selected": lambda i: image(i, seen(), seen(**LATER)),
    "slot-range": lambda i: image(i, seen(image_idx=48)),
    "image-id-differs": lambda i: image(i, seen(imageID="n1/other")),
    "wnid-differs": lambda i: image(i, seen(imageID=f"n7/{i}")).replace(
        b"<folder>n1<", b"<folder>n7<"
    ),
    "not-shown": lambda i: image(i),
    "box-outside-image": lambda i: image(i, seen(), box=(0, 0, 401, 100)),
    "box-reversed": lambda i: image(i, seen(), box=(0, 100, 90, 0)),
}
IMAGENET_CLEAN: list[Callable[[str], bytes]] = [
    lambda i: image(i, seen()),
    lambda i: image(i, seen(selected=False, clicks=[]), seen(**LATER)),
    # Selected, taken back, selected: two records, and what came between was tracked.
    lambda i: xml(
        i, [seen(hovered=[("enter", T0)], clicks=[(T0 + t, 1.0, 0.0) for t in (799, 800, 801)])]
    ),
]


def visits(*indices: int) -> list[Row]:
    return [
        {
            **{"categoryIndex": index, "categoryName": SUPERCLASSES[index]},
            **{"timeAt": 1000 * number, "usingKeyboard": False},
        }
        for number, index in enumerate(indices, 1)
    ]


def tagged(image_id: int, actions: list[Row], **other: Any) -> Row:
    """A record that no rule finds odd, but for its actions: superclass k from k seconds on."""
    values: Row = {
        **{"imageWidth": 900, "imageHeight": 450, "timeSpent": 12_000},
        **{"categoryHistories": visits(*range(1, 11))},
        "mouseTracking": [{"timeAt": 5, "x": 0.25, "y": 0.5}],
    }
    return coco_record(image_id, actions, **{**values, **other})


def put(icon: str, x: float = 0.5, at: int = 500) -> Row:
    return action("add", icon, (x, 0.5), at)


def moved(kind: str, start: float, end: float | None, at: int = 600) -> Row:
    to = None if end is None else {"x": end, "y": 0.5}
    values = {"actionType": kind, "iconType": "person", "pointTo": to, "timeAt": at}
    return {**values, "pointFrom": {"x": start, "y": 0.5}}


COCO_BROKEN: dict[str, Callable[[int], Row]] = {
    "move-without-add": lambda i: tagged(i, [moved("move", 0.5, 0.6)]),
    "remove-without-add": lambda i: tagged(
        i, [put("person"), moved("remove", 0.5, None), moved("remove", 0.5, None)]
    ),
    "double-add": lambda i: tagged(i, [put("person"), put("person", 0.6)]),
    "moved-from-elsewhere": lambda i: tagged(i, [put("person"), moved("move", 0.51, 0.6)]),
    "icons-on-one-point": lambda i: tagged(i, [put("person"), put("tie")]),
    "missing-point": lambda i: tagged(i, [{**put("person"), "pointTo": {"x": None, "y": None}}]),
    "unexpected-point": lambda i: tagged(i, [{**put("person"), "pointFrom": {"x": 0.1, "y": 0.1}}]),
    "point-outside": lambda i: tagged(i, [put("person", -0.001)]),
    "trace-outside": lambda i: tagged(i, [], mouseTracking=[{"timeAt": 5, "x": 0.1, "y": 1.001}]),
    "beyond-border": lambda i: tagged(i, [put("person", 1.003)]),
    "time-backwards": lambda i: tagged(i, [put("person", at=600), put("tie", 0.2, at=500)]),
    "time-before-page": lambda i: tagged(i, [put("person", at=-1)]),
    "time-after-page": lambda i: tagged(i, [], timeSpent=9_999),
    "page-left-open": lambda i: tagged(i, [], timeSpent=1_800_001),
    "zero-size": lambda i: tagged(i, [], originalImageWidth=0),
    "width-copies-height": lambda i: tagged(i, [], imageWidth=450),
    "page-height": lambda i: tagged(i, [], imageWidth=904, imageHeight=452),
    "short-category-history": lambda i: tagged(i, [], categoryHistories=visits(*range(1, 10))),
    "last-category-unseen": lambda i: tagged(i, [], categoryHistories=visits(1)),
    "category-jump": lambda i: tagged(i, [], categoryHistories=visits(*range(2, 11))),
    "category-name": lambda i: tagged(
        i, [], categoryHistories=[{**r, "categoryName": "Animal"} for r in visits(*range(1, 11))]
    ),
    "icon-not-shown": lambda i: tagged(i, [put("dog", at=999)]),
    "trace-missing": lambda i: tagged(i, [put("person")], mouseTracking=[]),
    "no-actions": lambda i: tagged(i, []),
    "page-range": lambda i: tagged(i, [], page_id=20),
    # The instances file of the test says 20 x 10.
    "size-disagrees": lambda i: tagged(i, [], originalImageWidth=22),
    "size-swapped": lambda i: tagged(i, [], originalImageWidth=10, originalImageHeight=20),
}
COCO_CLEAN: list[Callable[[int], Row]] = [
    lambda i: tagged(i, [put("person", 1.0), moved("move", 1.0, 0.0), put("dog", 0.2, 1000)]),
    # In the millisecond of the change either superclass will do; an icon may come back.
    lambda i: tagged(
        i,
        [put("person"), moved("remove", 0.5, None), put("person", 0.5, 700), put("bus", 0.1, 3000)],
    ),
]
RULES = [
    pytest.param(kind, rule, id=f"{name}:{rule.id}")
    for name, kind in KINDS.items()
    for rule in kind.checks.rules
]
NOT_CONVERTIBLE = {"unknown-name"}
"""Names that the reader refuses, so only an edited dataset has them: drawn as a table below."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[Any, str]]]:
    """dataset -> its folder, and image id -> the rule that the image breaks (empty if clean)."""
    import json

    base = tmp_path_factory.mktemp("drawn")
    makers = [*IMAGENET_BROKEN.values(), *IMAGENET_CLEAN]
    names = [*IMAGENET_BROKEN, *[""] * len(IMAGENET_CLEAN)]
    ids = {f"n1_{number}": name for number, name in enumerate(names)}
    log = archive(base / "raw.tar.gz", {i: make(i) for i, make in zip(ids, makers, strict=True)})
    luab_data.convert_imagenet(log, base / "imagenet-ab", worker_key=KEY)

    coco_makers = [*COCO_BROKEN.values(), *COCO_CLEAN]
    coco_names = [*COCO_BROKEN, *[""] * len(COCO_CLEAN)]
    records = [make(number) for number, make in enumerate(coco_makers, 1)]
    sizes = [{"id": r["image_id"], "width": 20, "height": 10} for r in records]
    categories = [{"id": i, "name": n} for i, n in COCO_CATEGORIES.items()]
    truth = base / "instances.json"
    truth.write_text(json.dumps({"images": sizes, "annotations": [], "categories": categories}))
    log = coco_log(base / "raw.json", records)
    luab_data.convert_coco(log, base / "coco-ab", instances=truth, worker_key=KEY)
    return {
        "imagenet-ab": (base / "imagenet-ab", ids),
        "coco-ab": (base / "coco-ab", dict(enumerate(coco_names, 1))),
    }


@pytest.fixture(scope="module")
def found(drawn: Any) -> dict[str, dict[str, set[Any]]]:
    """dataset -> rule -> images that it names."""
    out = {}
    for dataset, (folder, _) in drawn.items():
        report = check(folder, examples=1000, shown=False)
        assert report.whole, report.problems
        out[dataset] = {f.rule.id: {e["image_id"] for e in f.examples} for f in report.findings}
    return out


@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_each_rule_names_the_record_that_breaks_it_and_no_clean_one(
    kind: Kind, rule: Any, drawn: Any, found: Any
):
    _, ids = drawn[kind.dataset]
    named = found[kind.dataset][rule.id]
    assert not {i for i in named if not ids[i]}, "a clean record"
    if rule.id not in NOT_CONVERTIBLE:
        assert next(i for i, name in ids.items() if name == rule.id) in named


def test_a_drawn_record_breaks_few_other_rules(drawn: Any, found: Any):
    """A rule that names everything would pass the test above."""
    for dataset, (_, ids) in drawn.items():
        for rule, named in found[dataset].items():
            limit = 20 if rule == "no-actions" else 8
            assert len(named) <= limit, (rule, {ids[i] for i in named})


def test_an_unknown_class_is_named():
    names = [("dog", "add"), ("cow", "eat"), ("hat", "add")]
    rows = [
        {
            "image_id": number,
            "action_histories_icon_type": [icon],
            "action_histories_action_type": [action_type],
            "action_histories_point_to_x": [0.5],
            "action_histories_point_to_y": [0.5],
        }
        for number, (icon, action_type) in enumerate(names)
    ]
    some = window(rows, [[row] for row in rows], TAGGING)
    (rule,) = chosen(TAGGING.checks.rules, ["unknown-name"])
    assert rule(some).tolist() == [False, True, True]
    (rule,) = chosen(TAGGING.checks.rules, ["move-without-add"])
    assert not rule(some).any()


def test_a_width_that_repeats_the_height_is_no_size_on_the_page():
    shown = [(340, 340, 300, 400), (243, 243, 500, 375), (324, 324, 322, 324), (340, 340, 400, 400)]
    names = ("image_width", "image_height", "original_image_width", "original_image_height")
    rows = [
        {"image_id": f"n1_{i}", "has_boxes": False, "boxes": [], "width": None, "height": None}
        | dict(zip(names, sizes, strict=True))
        for i, sizes in enumerate(shown)
    ]
    some = window(rows, [[row] for row in rows], BROWSING)
    (rule,) = chosen(BROWSING.checks.rules, ["size-on-page"])
    # Of a square picture the width is one: 340 px are more than the cell's 324.
    assert rule(some).tolist() == [False, False, False, True]


# --- the registry --------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_a_rule_is_declared_in_full_and_looks_at_no_rows_too(kind: Kind, rule: Any):
    assert rule.doc and rule.source and rule.config in {table.config for table in kind.tables}
    empty = window([], [], kind)
    assert rule(empty).shape == (0,)


def test_ids_are_unique_and_unknown_ones_are_refused():
    for kind in KINDS.values():
        names = [rule.id for rule in kind.checks.rules]
        assert len(set(names)) == len(names)
    with pytest.raises(OptionError, match="no lint rule 'parities'; did you mean 'parity'"):
        chosen(BROWSING.checks.rules, ["parities", "parity"])
    assert [rule.id for rule in chosen(BROWSING.checks.rules, ["parity"])] == ["parity"]


# --- a slow reference, row by row ----------------------------------------------------------------


def falls(values: list[int]) -> bool:
    return any(b < a for a, b in pairwise(values))


def off(x: float | None, y: float | None) -> bool:
    return any(v is not None and not 0 <= v <= 1 for v in (x, y))


def clocks(r: Row) -> list[list[int]]:
    return [r["hovered_record_time_ms"], r["mouse_tracking_time_ms"], r["selected_record_time_ms"]]


def moments(r: Row) -> list[int]:
    return [time for clock in clocks(r) for time in clock]


def enters(r: Row) -> list[int]:
    pairs = zip(r["hovered_record_action"], r["hovered_record_time_ms"], strict=True)
    return [time for name, time in pairs if name == "enter"]


def early(r: Row, times: list[int]) -> bool:
    return any(time < min(enters(r), default=time + 1) for time in times)


def sizes(r: Row) -> list[int | None]:
    return [r[f"{p}image_{e}"] for p in ("", "original_") for e in ("width", "height")]


def no_size(r: Row) -> bool:
    return not all(size and size > 0 for size in sizes(r))


def other_size(r: Row, i: Row) -> str:
    file = tuple(sizes(r)[2:])
    if i["width"] is None or not all(size and size > 0 for size in file):
        return "unknown"
    known = (i["width"], i["height"])
    return "same" if file == known else "swapped" if file == known[::-1] else "other"


def copied(r: Row, width: float | None, height: float | None) -> bool:
    shown = (r["image_width"], r["image_height"])
    if not all(v and v > 0 for v in (*shown, width, height)) or shown[0] != shown[1]:
        return False
    return abs(shown[1] * width / height - shown[0]) > 2


def too_large(r: Row) -> bool:
    file = r["original_image_width"], r["original_image_height"]
    copied_width = r["image_width"] == r["image_height"] and file[0] != file[1]
    too_wide = not copied_width and r["image_width"] > min(file[0], 324)
    return too_wide or r["image_height"] > min(file[1], 340)


Reference = Callable[[Row, Row, list[Row]], bool]
"""(the row, its image, all rounds of the image in order) -> whether it is odd."""

IMAGENET_REFERENCE: dict[str, Reference] = {
    "click-outside": lambda r, i, a: (
        bool(r["selected_record_x"]) and off(r["selected_record_x"][-1], r["selected_record_y"][-1])
    ),
    "trace-outside": lambda r, i, a: any(map(off, r["mouse_tracking_x"], r["mouse_tracking_y"])),
    "time-backwards": lambda r, i, a: any(map(falls, clocks(r))),
    "click-without-enter": lambda r, i, a: early(r, r["selected_record_time_ms"]),
    "trace-without-enter": lambda r, i, a: early(r, r["mouse_tracking_time_ms"]),
    "enter-leave-order": lambda r, i, a: (
        r["hovered_record_action"] != (["enter", "leave"] * 9)[: len(r["hovered_record_action"])]
    ),
    "trace-after-click": lambda r, i, a: (
        r["selected"]
        and any(
            t > c for c in r["selected_record_time_ms"][-1:] for t in r["mouse_tracking_time_ms"]
        )
    ),
    "parity": lambda r, i, a: r["selected"] != len(r["selected_record_x"]) % 2,
    "selected-without-click": lambda r, i, a: r["selected"] and not r["selected_record_x"],
    "click-count": lambda r, i, a: r["selected_count"] not in (None, len(r["selected_record_x"])),
    "hover-count": lambda r, i, a: r["hovered_count"] not in (None, len(enters(r))),
    "click-without-trace": lambda r, i, a: (
        bool(r["selected_record_x"]) and not r["mouse_tracking_x"]
    ),
    "no-interaction": lambda r, i, a: not moments(r),
    "negative-estimate": lambda r, i, a: (r["estimate_time_ms"] or 0) < 0,
    "estimate-too-long": lambda r, i, a: (
        bool(moments(r)) and (r["estimate_time_ms"] or 0) > max(moments(r)) - min(moments(r))
    ),
    "submit-before-activity": lambda r, i, a: any(
        t // 1000 > r["hit_submit_time"] for t in moments(r)
    ),
    "time-far-from-submit": lambda r, i, a: any(
        abs(t // 1000 - r["hit_submit_time"]) > 86_400 for t in moments(r)
    ),
    "zero-size": lambda r, i, a: no_size(r),
    "size-disagrees": lambda r, i, a: i["has_boxes"] and other_size(r, i) == "other",
    "size-swapped": lambda r, i, a: i["has_boxes"] and other_size(r, i) == "swapped",
    "size-on-page": lambda r, i, a: not no_size(r) and too_large(r),
    "width-copies-height": lambda r, i, a: (
        not no_size(r) and copied(r, r["original_image_width"], r["original_image_height"])
    ),
    "equal-submit-times": lambda r, i, a: (
        [o["hit_submit_time"] for o in a].count(r["hit_submit_time"]) > 1
    ),
    "duplicate-assignment": lambda r, i, a: (
        [o["assignment_id"] for o in a].count(r["assignment_id"]) > 1
    ),
    "shown-after-selected": lambda r, i, a: r["round"] > 1 and a[r["round"] - 2]["selected"],
    "slot-range": lambda r, i, a: (
        r["page_idx"] not in (None, *range(10)) or r["image_idx"] not in (None, *range(48))
    ),
    "image-id-differs": lambda r, i, a: (
        r["image_id_raw"]
        not in (
            *(None, f"{r['wnid']}/{r['image_id']}"),
            f"{r['wnid']}/{r['image_id'].removeprefix(r['wnid'] + '_')}",
        )
    ),
    "wnid-differs": lambda r, i, a: i["image_id"].rsplit("_", 1)[0] != i["wnid"],
    "not-shown": lambda r, i, a: not a,
    "box-outside-image": lambda r, i, a: any(
        min(x0, x1, y0, y1) < 0
        or (i["width"] is not None and max(x0, x1) > i["width"])
        or (i["height"] is not None and max(y0, y1) > i["height"])
        for x0, y0, x1, y1 in i["boxes"]
    ),
    "box-reversed": lambda r, i, a: any(x0 > x1 or y0 > y1 for x0, y0, x1, y1 in i["boxes"]),
}

SMALL = st.integers(0, 5)
TIME = st.one_of(SMALL.map(lambda n: T0 + 700 * n), SMALL.map(lambda n: T0 + 9 * 10**7 * (n - 2)))
PLACE = st.sampled_from([-0.1, 0.0, 0.5, 1.0, 1.1])
SIZE = st.sampled_from([None, 0, -1, 100, 200, 400])


def lists(length: int, **columns: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    """Parallel lists of 0 to `length` elements."""
    entry = st.tuples(*columns.values())
    return st.lists(entry, max_size=length).map(
        lambda rows: {name: [row[k] for row in rows] for k, name in enumerate(columns)}
    )


ROUND = st.builds(
    lambda *parts: {key: value for part in parts for key, value in part.items()},
    lists(
        4, hovered_record_action=st.sampled_from(["enter", "leave"]), hovered_record_time_ms=TIME
    ),
    lists(3, mouse_tracking_time_ms=TIME, mouse_tracking_x=PLACE, mouse_tracking_y=PLACE),
    lists(3, selected_record_time_ms=TIME, selected_record_x=PLACE, selected_record_y=PLACE),
    st.fixed_dictionaries(
        {
            "assignment_id": st.sampled_from("ab"),
            "hit_submit_time": SMALL.map(lambda n: T0 // 1000 + n),
            "selected": st.booleans(),
            "worker_id": st.just("0" * 16),
            **{f"{p}image_{e}": SIZE for p in ("", "original_") for e in ("width", "height")},
            "estimate_time_ms": st.sampled_from([None, -1, 0, 700, 10**9]),
            "page_idx": st.sampled_from([None, -1, 0, 9, 10]),
            "image_idx": st.sampled_from([None, -1, 0, 47, 48]),
            "selected_count": st.sampled_from([None, 0, 1, 2]),
            "hovered_count": st.sampled_from([None, 0, 1, 2]),
            "image_id_raw": st.sampled_from([None, "n1/n1_0", "n1_0", "n1/0"]),
        }
    ),
)
EDGE = st.sampled_from([-1.0, 0.0, 100.0, 200.0, 201.0])
IMAGE_ROW = st.fixed_dictionaries(
    {
        "wnid": st.sampled_from(["n1", "n2"]),
        "has_boxes": st.booleans(),
        "width": st.sampled_from([None, 100, 200]),
        "height": st.sampled_from([None, 100, 200]),
        "boxes": st.lists(st.lists(EDGE, min_size=4, max_size=4), max_size=2),
    }
)


def window(images: list[Row], records: list[list[Row]], kind: Kind) -> Window:
    counts = [len(rows) for rows in records]
    flat = [row for rows in records for row in rows]
    return kind.checks.window(
        pa.Table.from_pylist(images, kind.images.schema()),
        pa.Table.from_pylist(flat, kind.events.schema()),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def assert_agree(some: Window, rule: Any, expected: list[Any], kind: Kind) -> None:
    odd = rule(some)
    assert odd.dtype == np.bool_
    assert odd.tolist() == [bool(value) for value in expected], rule.id
    # Slices of a larger table and chunked columns are how rows really come.
    images, records = (
        pa.concat_tables([table, table]).slice(len(table)) for table in (some.images, some.records)
    )
    assert rule(kind.checks.window(images, records, some.bounds)).tolist() == odd.tolist()


@settings(max_examples=150)
@given(st.lists(st.tuples(IMAGE_ROW, st.lists(ROUND, max_size=3)), min_size=1, max_size=3))
def test_imagenet_rules_equal_a_loop_over_rows(given_images: list[tuple[Row, list[Row]]]):
    assert set(IMAGENET_REFERENCE) == {rule.id for rule in BROWSING.checks.rules}
    images, records = [], []
    for number, (row, rounds) in enumerate(given_images):
        row = {**row, "image_id": f"n1_{number}", "num_rounds": len(rounds)}
        rounds = sorted(rounds, key=lambda r: r["hit_submit_time"])
        own = {"image_id": row["image_id"], "wnid": row["wnid"]}
        images.append(row)
        records.append([{**r, **own, "round": k} for k, r in enumerate(rounds, 1)])
    some = window(images, records, BROWSING)
    for rule in BROWSING.checks.rules:
        odd = IMAGENET_REFERENCE[rule.id]
        if rule.config == "default":
            expected = [odd({}, i, rs) for i, rs in zip(images, records, strict=True)]
        else:
            pairs = zip(images, records, strict=True)
            expected = [odd(r, i, rs) for i, rs in pairs for r in rs]
        assert_agree(some, rule, expected, BROWSING)


def actions(r: Row) -> list[Row]:
    names = [name for name in r if name.startswith("action_histories_")]
    columns = zip(*(r[name] for name in names), strict=True)
    short = [name.removeprefix("action_histories_") for name in names]
    return [dict(zip(short, values, strict=True)) for values in columns]


def replayed(r: Row) -> tuple[set[str], dict[str, Row]]:
    """What goes wrong in the histories of a row, and the icons there at the end."""
    wrong: set[str] = set()
    board: dict[str, Row] = {}
    for a in actions(r):
        before = board.get(a["icon_type"])
        kind = a["action_type"]
        if kind == "add" and before:
            wrong.add("double-add")
        if kind != "add" and not before:
            wrong.add(f"{kind}-without-add")
        if kind != "add" and before:
            for axis in "xy":
                start, end = a[f"point_from_{axis}"], before[f"point_to_{axis}"]
                if start is not None and end is not None and start != end:
                    wrong.add("moved-from-elsewhere")
        if kind == "remove":
            board.pop(a["icon_type"], None)
        else:
            board[a["icon_type"]] = a
    return wrong, board


def shared(r: Row) -> bool:
    points = [(a["point_to_x"], a["point_to_y"]) for a in replayed(r)[1].values()]
    points = [point for point in points if None not in point]
    return len(set(points)) < len(points)


def hidden(r: Row) -> bool:
    """An add of a class whose superclass is on show neither just before nor just after."""
    columns = (f"category_histories_{name}" for name in ("time_at_ms", "category_index"))
    changes = sorted(zip(*(r[name] for name in columns), strict=True), key=lambda pair: pair[0])
    for a in actions(r):
        if a["action_type"] == "add":
            before = [i for t, i in changes if t < a["time_at_ms"]] or [0]
            after = [i for t, i in changes if t <= a["time_at_ms"]] or [0]
            groups = [SUPERCLASSES[i] for i in (before[-1], after[-1])]
            if not any(a["icon_type"] in COCO_SUPERCLASSES[group] for group in groups):
                return True
    return False


def past_border(r: Row, i: Row) -> bool:
    height = r["image_height"] if (r["image_height"] or 0) > 0 else 450
    width = height * i["width"] / i["height"] if i["width"] and i["height"] else 450
    margin = {"x": 2 / width + 1e-9, "y": 2 / height + 1e-9}
    return any(
        v is not None and not -margin[axis] <= v <= 1 + margin[axis]
        for prefix in ("action_histories_point_to", "mouse_tracking")
        for axis in "xy"
        for v in r[f"{prefix}_{axis}"]
    )


def coco_clocks(r: Row) -> list[list[int]]:
    names = ("action_histories", "category_histories", "mouse_tracking")
    return [r[f"{name}_time_at_ms"] for name in names]


CATEGORY = "category_histories_category_index"
TO_X, TO_Y = "action_histories_point_to_x", "action_histories_point_to_y"
COCO_REFERENCE: dict[str, Reference] = {
    "move-without-add": lambda r, i, a: "move-without-add" in replayed(r)[0],
    "remove-without-add": lambda r, i, a: "remove-without-add" in replayed(r)[0],
    "double-add": lambda r, i, a: "double-add" in replayed(r)[0],
    "moved-from-elsewhere": lambda r, i, a: "moved-from-elsewhere" in replayed(r)[0],
    "icons-on-one-point": lambda r, i, a: shared(r),
    "unknown-name": lambda r, i, a: False,
    "missing-point": lambda r, i, a: any(
        a["action_type"] != "remove" and None in (a["point_to_x"], a["point_to_y"])
        for a in actions(r)
    ),
    "unexpected-point": lambda r, i, a: any(
        (a["action_type"] == "add" and a["point_from_x"] is not None)
        or (a["action_type"] == "remove" and a["point_to_x"] is not None)
        for a in actions(r)
    ),
    "point-outside": lambda r, i, a: any(map(off, r[TO_X], r[TO_Y])),
    "trace-outside": lambda r, i, a: any(map(off, r["mouse_tracking_x"], r["mouse_tracking_y"])),
    "beyond-border": lambda r, i, a: past_border(r, i),
    "time-backwards": lambda r, i, a: any(map(falls, coco_clocks(r))),
    "time-before-page": lambda r, i, a: any(t < 0 for c in coco_clocks(r) for t in c),
    "time-after-page": lambda r, i, a: (
        r["time_spent_ms"] is not None
        and any(t > r["time_spent_ms"] for c in coco_clocks(r) for t in c)
    ),
    "page-left-open": lambda r, i, a: (r["time_spent_ms"] or 0) > 1_800_000,
    "zero-size": lambda r, i, a: no_size(r),
    "size-disagrees": lambda r, i, a: other_size(r, i) == "other",
    "size-swapped": lambda r, i, a: other_size(r, i) == "swapped",
    "width-copies-height": lambda r, i, a: copied(r, i["width"], i["height"]),
    "page-height": lambda r, i, a: (
        (r["image_height"] or 0) > 0 and r["image_height"] not in (449, 450, 451)
    ),
    "short-category-history": lambda r, i, a: len(r[CATEGORY]) < 10,
    "last-category-unseen": lambda r, i, a: 10 not in r[CATEGORY],
    "category-jump": lambda r, i, a: any(
        abs(now - before) != 1 for before, now in zip([0, *r[CATEGORY]], r[CATEGORY], strict=False)
    ),
    "category-name": lambda r, i, a: (
        [SUPERCLASSES[k] for k in r[CATEGORY]] != r["category_histories_category_name"]
    ),
    "icon-not-shown": lambda r, i, a: hidden(r),
    "trace-missing": lambda r, i, a: bool(r[TO_X]) and not r["mouse_tracking_x"],
    "no-actions": lambda r, i, a: not r[TO_X],
    "page-range": lambda r, i, a: r["page_id"] not in (None, *range(20)),
}

SOON = st.integers(-1, 4)
POINT = st.sampled_from([None, -0.1, -0.002, 0.0, 0.5, 1.0, 1.002, 1.1])
LABEL = st.sampled_from(["person", "tie", "dog", "bus"])
ACTION = st.builds(
    lambda *parts: {key: value for part in parts for key, value in part.items()},
    lists(
        5,
        action_histories_action_type=st.sampled_from(["add", "move", "remove"]),
        action_histories_icon_type=LABEL,
        action_histories_point_from_x=POINT,
        action_histories_point_from_y=POINT,
        action_histories_point_to_x=POINT,
        action_histories_point_to_y=POINT,
        action_histories_time_at_ms=SOON,
    ),
    lists(
        3,
        category_histories_category_index=st.sampled_from([0, 1, 2, 10]),
        category_histories_category_name=st.sampled_from([SUPERCLASSES[i] for i in (0, 1, 2, 10)]),
        category_histories_time_at_ms=SOON,
        category_histories_using_keyboard=st.booleans(),
    ),
    lists(2, mouse_tracking_x=POINT, mouse_tracking_y=POINT, mouse_tracking_time_at_ms=SOON),
    st.fixed_dictionaries(
        {
            **{f"{p}image_{e}": SIZE for p in ("", "original_") for e in ("width", "height")},
            "time_spent_ms": st.sampled_from([None, 0, 3, 1_800_001]),
            "page_id": st.sampled_from([None, -1, 0, 19, 20]),
        }
    ),
)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(ACTION, st.sampled_from([(None, None), (100, 200), (200, 100), (400, 400)])),
        min_size=1,
        max_size=3,
    )
)
def test_coco_rules_equal_a_loop_over_rows(given_rows: list[tuple[Row, tuple[Any, Any]]]):
    assert set(COCO_REFERENCE) == {rule.id for rule in TAGGING.checks.rules}
    assert {"person", "tie", "dog", "bus"} <= set(COCO_CLASSES)
    rows = [{**row, "image_id": n} for n, (row, _) in enumerate(given_rows)]
    images = [
        {"image_id": n, "width": size[0], "height": size[1]}
        for n, (_, size) in enumerate(given_rows)
    ]
    some = window(images, [[row] for row in rows], TAGGING)
    for rule in TAGGING.checks.rules:
        odd = COCO_REFERENCE[rule.id]
        expected = [odd(r, i, [r]) for r, i in zip(rows, images, strict=True)]
        assert_agree(some, rule, expected, TAGGING)


def test_counts_add_up_over_windows_and_examples_are_the_first():
    rows = [{"image_id": n, "page_id": 20 if n % 2 else 0} for n in range(10)]
    rules = chosen(TAGGING.checks.rules, ["page-range"])
    lint = Lint(rules, 3)
    for start in range(0, 10, 4):
        part = rows[start : start + 4]
        lint.see(window(part, [[row] for row in part], TAGGING))
    (finding,) = lint.findings
    assert (finding.count, finding.rows, finding.share) == (5, 10, 0.5)
    assert [example["image_id"] for example in finding.examples] == [1, 3, 5]
    assert Lint(rules, 0).findings[0].share is None
