"""`luab-data accept` on drawn datasets, lists of codes, and what it refuses."""

from __future__ import annotations

import itertools
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from logs import KEY, SHARED, action, archive, block, coco_log, coco_record, luab, xml

import luab_data
from luab_data.acceptance.accept import accept
from luab_data.acceptance.codes import read_codes
from luab_data.errors import OptionError

WORKER = "5EC2E71D00"


def imagenet_hit(name: str, selected: int, pages: int = 10, per_page: int = 12) -> dict[str, bytes]:
    """Originals of one assignment of 9 minutes; the first `selected` of them are selected."""
    start = 1_640_000_000_000
    records = {}
    for k in range(pages * per_page):
        image_id = f"n00000001_{int(name[1:])}{k:03d}"
        shown = block(
            assignment_id=name,
            selected=k < selected,
            clicks=[(start + 5000 + k, 0.5, 0.5)] if k < selected else [],
            hovered=[("enter", start + k), ("leave", start + 9000)],
            submit=start // 1000 + 540,
            page_idx=k // per_page,
            image_idx=k % per_page,
            worker=WORKER,
        )
        records[image_id] = xml(image_id, [shown])
    return records


HITS = {
    "310": ((40,), ("accepted", "")),
    "311": ((39,), ("rejected", "recall")),
    "312": ((60, 9), ("accepted", "")),
    "313": ((60, 8), ("rejected", "pages")),
    "314": ((30, 10, 8), ("accepted", "")),
    "315": ((29, 10, 8), ("undecided", "selections")),
}


def coco_hit(number: int, pages: int, right: int, wrong: int = 0) -> list[dict[str, Any]]:
    """Pages of one person each, on the left; the first ones get an icon there, then some beside."""
    places = [(0.25, 0.5)] * right + [(0.75, 0.5)] * wrong
    return [
        coco_record(
            100 * number + page,
            [action("add", "person", places[page])] if page < len(places) else [],
            hit_id=f"h{number}",
            page_id=page,
            timeSpent=36_300,
            worker_id=WORKER,
        )
        for page in range(pages)
    ]


COCO_HITS = {
    "h1": ((20, 15, 5), ("accepted", "")),  # .75
    "h2": ((20, 14, 6), ("rejected", "icon_accuracy")),
    "h3": ((16, 16), ("accepted", "")),
    "h4": ((15, 15), ("rejected", "pages")),
    "h5": ((20, 7), ("accepted", "")),  # recall .35
    "h6": ((20, 6), ("rejected", "recall")),
    "h7": ((20, 0), ("rejected", "recall")),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """imagenet-ab and coco-ab with their logs and instances.json; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn")
    records: dict[str, bytes] = {}
    for name, (how, _) in HITS.items():
        records |= imagenet_hit(name, *how)
    raw = archive(folder / "imagenet.tar.gz", records)
    luab_data.convert_imagenet(raw, folder / "imagenet-ab", worker_key=KEY)
    pages = [p for k, (how, _) in enumerate(COCO_HITS.values()) for p in coco_hit(k + 1, *how)]
    log = coco_log(folder / "coco.json", pages)
    left = [[0, 0, 10, 0, 10, 10, 0, 10]]
    ids = [page["image_id"] for page in pages]
    truth = {
        "images": [{"id": i, "width": 20, "height": 10} for i in ids],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": left, "iscrowd": 0}
            for i in ids
        ],
    }
    instances = folder / "instances.json"
    instances.write_text(json.dumps(truth), encoding="utf-8")
    luab_data.convert_coco(log, folder / "coco-ab", instances=instances, worker_key=KEY)
    return folder


run = partial(luab, "accept")


def decided(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        row["assignment_id"]: (
            row["decision"],
            " ".join(row["failed" if row["decision"] == "rejected" else "undecided"]),
        )
        for row in found["assignments"]
    }


# --- what comes out ------------------------------------------------------------------------------


def test_decisions_on_imagenet(drawn: Path):
    folder = run(drawn / "imagenet-ab", "--json")
    assert folder.exit_code == 0, folder.stderr
    found = json.loads(folder.stdout)
    assert decided(found) == {name: what for name, (_, what) in HITS.items()}
    assert (found["num_accepted"], found["num_rejected"], found["num_undecided"]) == (3, 2, 1)
    assert found["cost"]["total_usd"] == pytest.approx(3 * 1.5 * 1.2)
    assert found["cost"]["median_hit_ms"] == 540_000
    assert found["cost"]["hourly_wage_usd"] == pytest.approx(10.0)
    rules = {rule["name"]: rule for rule in found["rules"]}
    assert rules["code"]["num_not_applied"] == 6 and not found["codes_given"]
    assert rules["selections"]["num_undecided"] == 1


def test_decisions_on_coco(drawn: Path):
    folder = run(drawn / "coco-ab", "--json")
    assert folder.exit_code == 0, folder.stderr
    found = json.loads(folder.stdout)
    assert decided(found) == {name: what for name, (_, what) in COCO_HITS.items()}
    assert found["cost"]["total_usd"] == pytest.approx(3 * 2 * 1.2)
    assert found["cost"]["median_hit_ms"] == 726_000
    assert found["cost"]["hourly_wage_usd"] == pytest.approx(9.92, abs=0.005)
    (row,) = (r for r in found["assignments"] if r["assignment_id"] == "h7")
    assert row["recall"] == 0 and row["icon_accuracy"] is None
    assert row["undecided"] == ["icon_accuracy"]


def test_without_ground_truth_coco_is_undecided_unless_pages_are_missing(
    drawn: Path, tmp_path: Path
):
    bare = luab_data.convert_coco(drawn / "coco.json", tmp_path / "bare", worker_key=KEY).out
    found = accept(bare).as_dict()
    expected = {name: ("undecided", "recall icon_accuracy") for name in COCO_HITS}
    assert decided(found) == {**expected, "h4": ("rejected", "pages")}
    shown = run(bare)
    assert "131 pages without ground truth" in shown.output


def test_the_summary_says_what_was_counted_and_what_was_not(drawn: Path):
    shown = run(drawn / "imagenet-ab")
    assert shown.exit_code == 0 and not shown.stderr
    flat = re.sub(" +", " ", shown.stdout)
    for line in (
        "imagenet-ab, 6 assignments: 3 accepted, 2 rejected, 1 undecided",
        "recall of the assigned originals < 0.333 1 0",
        "selections among the 480 pictures < 30 0 1",
        "record missing and survey code wrong not applied: no --codes",
        "undecided selections: only originals are in the log, 120 of the 480",
        "paid: 3 x 1.50 = 4.50 USD + 20% fee 0.90 = 5.40 USD",
        "undecided: up to 1.80 USD more, fee included",
        "rejected: 33.3% of the submitted, 66.7% of the accepted",
        "median HIT: 9.0 min (6 timed): 10.00 USD an hour",
        "311 rejected: recall 0.325 < 0.333",
        "313 rejected: pages 8 < 9",
    ):
        assert line in flat, line


def test_no_worker_is_named(drawn: Path):
    hashed = set(luab_data.read_table(drawn / "imagenet-ab", "annotators")["worker_id"].to_pylist())
    hashed |= set(luab_data.read_table(drawn / "coco-ab", "annotators")["worker_id"].to_pylist())
    assert hashed
    for source in ("imagenet-ab", "coco-ab"):
        shown = run(drawn / source, "--json").output + run(drawn / source).output
        assert not [name for name in (WORKER, "worker", *hashed) if name in shown.lower()]


def test_a_raw_log_has_to_be_converted_first(drawn: Path):
    for name in ("imagenet.tar.gz", "coco.json"):
        done = run(drawn / name)
        assert done.exit_code == 1 and done.output.count("\n") == 1
        assert "Convert a raw log first: `luab-data convert`" in done.output


def test_the_result_in_one_line_and_a_row_an_assignment(drawn: Path):
    found = luab_data.accept(drawn / "imagenet-ab", reward=1, fee=0)
    assert repr(found) == (
        "Acceptance(imagenet-ab: 6 assignments, 3 accepted, 2 rejected, 1 undecided, 3.00 USD)"
    )
    first, second = found.to_table().to_pylist()[:2]
    assert first["num_selections"] is None and second["recall"] == 0.325


def test_reward_and_fee_are_the_callers(drawn: Path):
    shown = run(drawn / "imagenet-ab", "--reward", "3", "--fee", "0.4")
    assert "paid: 3 x 3.00 = 9.00 USD + 40% fee 3.60 = 12.60 USD" in shown.output
    assert "20.00 USD an hour" in shown.output


def test_a_constant_denominator_takes_short_hits_for_poor_ones(drawn: Path):
    found = decided(accept(drawn / "imagenet-ab", assigned=120).as_dict())
    assert found["314"] == ("rejected", "recall") and found["310"] == ("accepted", "")
    assert "originals assigned: 120" in run(drawn / "imagenet-ab", "--assigned", "120").output


# --- codes ---------------------------------------------------------------------------------------


def codes_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "codes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_codes_reject_what_is_missing_and_wrong(drawn: Path, tmp_path: Path):
    codes = codes_file(
        tmp_path,
        "\ufeffassignment_id,is_code_right,is_recorded,num_selections\n"
        "310,False,TRUE,\n312,0,0,75\n314,1,0,\n315,True,true,30\n399,false,false,\n"
        "398,true,false,\n397,true,true,\n",
    )
    found = json.loads(run(drawn / "imagenet-ab", "--codes", codes, "--json").stdout)
    assert decided(found) == {
        **{name: what for name, (_, what) in HITS.items()},
        "312": ("rejected", "code"),
        "315": ("accepted", ""),
        "399": ("rejected", "code"),
        "398": ("accepted", ""),
    }
    assert found["num_not_in_log"] == 1 and found["codes_given"]
    shown = run(drawn / "imagenet-ab", "--codes", codes).output
    assert "left out: 1 assignments of --codes that the log lacks" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: 0 columns, and no assignment_id"),
        ("assignment_id\n3A\n", "line 1: the only column is assignment_id; expected"),
        ("SECRET,1\n3A,1\n", "line 1: 2 columns, and no assignment_id"),
        ("assignment_id,num_selection\n3A,1\n", "did you mean num_selections"),
        ("assignment_id,worker\n3A,SECRET\n", "line 1: unknown column 'worker'"),
        ("is_recorded,is_code_right\n1,1\n", "line 1: 2 columns, among them is_recorded"),
        ("assignment_id,is_recorded\n3A,1\n", "line 1: .* expected both or neither"),
        ("assignment_id,num_selections,num_selections\n3A,1,1\n", "a column twice"),
        ("assignment_id,num_selections\n3A,SECRET\n", "line 2: num_selections is not a whole"),
        ("assignment_id,num_selections\n3A,-1\n", "line 2: num_selections is not a whole"),
        ("assignment_id,num_selections\n3A,1\n3A,1\n", "line 3: has the assignment of line 2"),
        ("assignment_id,num_selections\n,1\n", "line 2: has no assignment_id"),
        ("assignment_id,num_selections\n3A,1,SECRET\n", "line 2: has more or fewer cells"),
        ("assignment_id,num_selections\n3A\n", "line 2: has more or fewer cells"),
        (
            "assignment_id,is_recorded,is_code_right\n3A,SECRET,1\n",
            "line 2: is_recorded is neither",
        ),
        ("assignment_id,num_selections\n3A,1.5\n", "line 2: num_selections is not a whole"),
        ("assignment_id,num_selections\n", "no assignment; expected a line for each"),
        ('assignment_id,num_selections\n"3A,1\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_list_of_codes_is_refused_without_quoting_it(tmp_path: Path, text: str, message: str):
    with pytest.raises(OptionError, match=message) as found:
        read_codes(codes_file(tmp_path, text))
    assert "SECRET" not in str(found.value)


def test_whole_numbers_may_have_a_point_as_pandas_writes_them(tmp_path: Path):
    found = read_codes(codes_file(tmp_path, "assignment_id,num_selections\n3A,210.0\n3B,\n"))
    assert found["num_selections"].to_pylist() == [210, None]


def test_codes_that_are_no_text_or_not_there_are_refused(tmp_path: Path):
    (tmp_path / "codes.csv").write_bytes(b"assignment_id,num_selections\n\xff\xfe,1\n")
    for name in ("codes.csv", "nothing.csv"):
        with pytest.raises(OptionError, match="cannot be read as CSV"):
            read_codes(tmp_path / name)


def test_codes_of_another_log_are_noticed(drawn: Path, tmp_path: Path):
    for is_recorded in "10":
        text = f"assignment_id,is_recorded,is_code_right\n3ZZ,{is_recorded},1\n3ZY,1,0\n"
        with pytest.raises(OptionError, match=r"none of the 2 assignments is in the log; expected"):
            accept(drawn / "imagenet-ab", codes=codes_file(tmp_path, text))


def test_ids_in_other_capitals_are_told(drawn: Path, tmp_path: Path):
    lower = codes_file(tmp_path, "assignment_id,is_recorded,is_code_right\nH1,1,1\nH2,0,0\n")
    with pytest.raises(OptionError, match=r"none of the 2 .* 2 would be with other capitals"):
        accept(drawn / "coco-ab", codes=lower)
    some = codes_file(tmp_path, "assignment_id,is_recorded,is_code_right\nh1,1,1\nH2,0,1\n")
    assert len(accept(drawn / "coco-ab", codes=some).table) == len(COCO_HITS), "H2 is h2"
    shown = run(drawn / "coco-ab", "--codes", some).output
    assert "of the 2 assignments of --codes 1 (50.0%) are in the log" in shown
    assert "1 of --codes would be in it with other capitals" in shown


def test_cells_may_be_padded_and_set_apart_by_semicolons(drawn: Path, tmp_path: Path):
    plain = "assignment_id,is_recorded,is_code_right\n310,0,0\n312,1,1\n"
    expected = accept(drawn / "imagenet-ab", codes=codes_file(tmp_path, plain)).table
    for text in (
        plain.replace(",", ";"),
        plain.replace(",", "\t"),
        plain.replace(",", " , ").replace("\n", " \r\n") + "\n , , \n",
    ):
        found = accept(drawn / "imagenet-ab", codes=codes_file(tmp_path, text)).table
        assert found.equals(expected)


def test_mturks_own_results_are_read_and_nothing_personal_of_them_is_kept(
    drawn: Path, tmp_path: Path
):
    text = (
        '"HITId","AssignmentId","WorkerId","AssignmentStatus","Answer.surveycode","Answer.mail"\n'
        '"H","310","A2SECRET","Approved","c0de",""\n'
        '"H","311","A3SECRET","Submitted","","me@secret.org"\n'
        '"H","399","A4SECRET","Submitted","",""\n'
        '"H","398","A5SECRET","Submitted","c0de",""\n'
    )
    codes = codes_file(tmp_path, text)
    done = run(drawn / "imagenet-ab", "--codes", codes, "--out", tmp_path / "made.csv")
    assert done.exit_code == 0, done.output
    for line in (
        "of the 4 assignments of --codes 2 (50.0%) are in the log",
        "Approved on MTurk, accepted here: 1",
        "Submitted on MTurk, rejected here: 2",
        "Submitted on MTurk, undecided here: 1",
    ):
        assert line in done.output, line
    found = accept(drawn / "imagenet-ab", codes=codes).as_dict()
    decisions = decided(found)
    assert decisions["310"] == ("accepted", "")  # recorded, whatever the code
    assert decisions["399"] == ("rejected", "code")  # neither recorded nor any code
    assert decisions["398"] == ("undecided", "code")
    whole = done.output + json.dumps(found) + (tmp_path / "made.csv").read_text()
    assert "SECRET" not in whole.upper() and "c0de" not in whole
    with pytest.raises(OptionError, match="line 2: has no assignment_id") as error:
        read_codes(codes_file(tmp_path, text.replace('"310"', '""')))
    assert "SECRET" not in str(error.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_lists_as_people_have_them(tiny: Path):
    cases = SHARED / "data/cases/codes"
    assert accept(tiny, codes=cases / "x_ok.csv").cost.total_usd == pytest.approx(162)
    with pytest.raises(OptionError, match="101 would be with other capitals"):
        accept(tiny, codes=cases / "x_lower.csv")
    found = accept(tiny, codes=cases / "mturk.csv")
    assert found.codes is not None and found.codes.num_in_log == 101
    assert found.cost.num_accepted == 93
    assert read_codes(cases / "bom.csv").num_rows == 101


# --- what is refused -----------------------------------------------------------------------------


def test_options_without_effect_are_refused(drawn: Path, tmp_path: Path):
    codes = codes_file(tmp_path, "assignment_id,num_selections\nh1,3\n")
    with pytest.raises(OptionError, match="assigned has no effect"):
        accept(drawn / "coco-ab", assigned=120)
    with pytest.raises(OptionError, match="num_selections has no effect"):
        accept(drawn / "coco-ab", codes=codes)


def test_money_is_checked_before_the_log_is_read(drawn: Path):
    for option, bad in itertools.product(("--reward", "--fee"), ("nan", "inf", "-1.0")):
        done = run(drawn / "nowhere", option, bad)
        assert done.exit_code == 1 and f"{option[2:]} is {bad}" in done.output


def test_images_without_a_hit_are_left_out_and_counted(tmp_path: Path):
    pages = coco_hit(1, 20, 15)
    pages += [coco_record(900, [], hit_id=None), coco_record(901, [], hit_id=None, page_id=None)]
    log = coco_log(tmp_path / "log.json", pages)
    found = accept(luab_data.convert_coco(log, tmp_path / "ab", worker_key=KEY).out)
    assert found.num_without_assignment == 2 and len(found.table) == 1
