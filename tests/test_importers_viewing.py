"""Importers of records of people who looked, pointed or searched: one asymmetric dot each."""

import gzip
import io
import json
import pickle
import zipfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from logs import luab
from PIL import Image
from scipy.io import savemat

from luab_data.errors import ArchiveError, OptionError
from luab_data.importers import importer
from luab_data.importers.coco_search18 import shown
from luab_data.importers.matlab import read_mat
from luab_data.importers.pictures import picture_id
from luab_data.importers.points import PointViews
from luab_data.store.folder import read_manifest
from luab_data.views import EVENTS, count_fidelity

COLUMN, ROW = 161, 97
"""A dot in a picture of 640 x 480: neither axis, no mirror and no swap leaves it where it is."""
AT = ((COLUMN - 0.5) / 640, (ROW - 0.5) / 480)
"""Where it is, as fractions, if those count pixels from 1."""


def readings(name, *paths, unknown=None, **options):
    unknown = Counter() if unknown is None else unknown
    return list(importer(name).read(list(paths), unknown, lambda _: None, **options))


def view(name, *paths, **options):
    """The only view, and no error."""
    (found,) = views(name, *paths, **options)
    return found


def views(name, *paths, **options):
    found = readings(name, *paths, **options)
    assert not [error for reading in found for error in reading.errors]
    return pa.concat_tables([reading.table for reading in found]).to_pylist()


def errors(name, *paths, **options):
    found = readings(name, *paths, **options)
    return [(error.rule, error.reason) for reading in found for error in reading.errors]


def fidelity(name, *paths, **options):
    tables = [reading.table for reading in readings(name, *paths, **options)]
    counts = count_fidelity(tables)
    return {flag for flag, count in counts.items() if flag != "num_views" and count}


def points(row):
    """[(type, x, y), ...] of the events with a place."""
    found = zip(row["event"], row["event_x"], row["event_y"], strict=True)
    return [(EVENTS[code], x, y) for code, x, y in found if x is not None]


def picture(folder, name, size=(640, 480)):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(folder / name)


# --- Localized Narratives ------------------------------------------------------------------------

NARRATIVE = {
    "dataset_id": "mscoco_val2017",
    "image_id": "137576",
    "annotator_id": 93,
    "caption": "A cow.",
    "timed_caption": [
        {"utterance": "A", "start_time": 0, "end_time": 0.4},
        {"utterance": "cow.", "start_time": 1.0, "end_time": 1.25},
    ],
    "traces": [
        [{"x": 0.25, "y": 0.75, "t": 0.029}, {"x": -0.0533, "y": 1.1, "t": 1.5}],
        [],
        [{"x": 0.5, "y": 0.125, "t": 2}],
    ],
    "voice_recording": "coco_val/coco_val_137576_93.ogg",
}


def narratives(folder, *lines, name="coco_val_localized_narratives.jsonl"):
    path = folder / name
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def test_a_narrative_is_fractions_and_seconds(tmp_path):
    found = view("localized-narratives", narratives(tmp_path, NARRATIVE))
    assert points(found) == [("move", 0.25, 0.75), ("move", -0.0533, 1.1), ("move", 0.5, 0.125)]
    logged = zip(found["event"], found["event_time_ms"], found["event_label"], strict=True)
    assert [(EVENTS[code], time, word) for code, time, word in logged] == [
        ("say", 0, "A"),
        ("enter", None, None),
        ("move", 29, None),
        ("say", 1000, "cow."),
        ("move", 1500, None),
        ("leave", None, None),
        ("enter", None, None),
        ("move", 2000, None),
        ("leave", None, None),
    ]
    durations = [None] * len(found["event"])
    durations[0], durations[3] = 400, 250
    assert found["event_duration_ms"] == durations
    assert [found[key] for key in ("image_id", "annotator", "answer")] == [
        "137576",
        "93",
        "A cow.",
    ]
    assert {p for p in found["event_pointer"] if p} == {"mouse"}
    assert fidelity("localized-narratives", narratives(tmp_path, NARRATIVE)) == {
        "has_path",
        "has_time",
        "has_annotator",
    }


def test_narratives_keep_their_own_points_and_words(tmp_path):
    silent = {**NARRATIVE, "image_id": "7", "timed_caption": [], "annotator_id": 4}
    without = {**NARRATIVE, "image_id": "381639"}  # as line 4414 of COCO's validation file
    del without["traces"]
    late = {**NARRATIVE, "image_id": "9", "timed_caption": NARRATIVE["timed_caption"][1:]}
    found = views(
        "localized-narratives",
        narratives(tmp_path, NARRATIVE, silent, "", without, late, NARRATIVE),
    )
    assert found[0] == found[4]
    assert [len(points(row)) for row in found] == [3, 3, 0, 3, 3]
    says = [[w for w in row["event_label"] or () if w] for row in found]
    assert says == [["A", "cow."], [], ["A", "cow."], ["cow."], ["A", "cow."]]
    assert found[1]["event_label"] is None
    assert found[2]["event_pointer"] is None
    assert [EVENTS[code] for code in found[2]["event"]] == ["say", "say"]


def test_bare_numbers_of_narratives_are_those_of_coco(tmp_path):
    flickr = {**NARRATIVE, "dataset_id": "Flickr30k_train", "image_id": "36979"}
    ade = {**NARRATIVE, "dataset_id": "ADE20k_train", "image_id": "ADE_train_00000001"}
    found = views("localized-narratives", narratives(tmp_path, flickr, ade))
    assert [row["image_id"] for row in found] == ["flickr30k_36979", "ADE_train_00000001"]


def test_a_bad_line_is_told_and_new_fields_are_counted(tmp_path):
    newer = json.loads(json.dumps({**NARRATIVE, "language": "en"}))
    newer["traces"][0][0]["pressure"] = 0.5
    bad = {**NARRATIVE, "annotator_id": "x"}
    late = {**NARRATIVE, "traces": [[{"x": 0, "y": 0, "t": 1e300}]]}
    odd = {"language": "en", **NARRATIVE, "traces": [[5]]}
    deep = '{"language": ' + 5000 * "[" + 5000 * "]" + "}"
    unknown = Counter()
    path = narratives(tmp_path, newer, bad, '{"a": 1', NARRATIVE, "", odd, deep, late)
    found = readings("localized-narratives", path, unknown=unknown)
    assert [len(reading.table) for reading in found] == [2]
    assert [error.rule for error in found[0].errors] == [
        *("not-a-narrative", "json-syntax", "not-a-narrative", "json-syntax", "not-a-narrative"),
    ]
    assert found[0].errors[0].where == f"{path.name}, line 2"
    assert found[0].names == [f"{path.name}, line 1", f"{path.name}, line 4"]
    assert unknown == {"language": 2, "traces.pressure": 1}


def test_shards_of_narratives_are_read_from_a_folder(tmp_path):
    narratives(tmp_path, NARRATIVE, name="b.jsonl")
    other = json.dumps({**NARRATIVE, "image_id": "1"}).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(other))
    found = views("localized-narratives", tmp_path)
    assert [row["image_id"] for row in found] == ["1", "137576"]


def test_captions_are_no_narratives(tmp_path):
    captions = {key: NARRATIVE[key] for key in ("dataset_id", "image_id", "annotator_id")}
    with pytest.raises(ArchiveError, match="not one of captions"):
        readings("localized-narratives", narratives(tmp_path, captions))


# --- SALICON -------------------------------------------------------------------------------------

IMAGE = {
    "license": 4,
    "url": "http://farm7.staticflickr.com/6120/6330820978_d44a63af02_z.jpg",
    "file_name": "COCO_train2014_000000123855.jpg",
    "height": 480,
    "width": 640,
    "date_captured": "2013-11-14 16:50:09",
    "id": 123855,
}


def salicon_json(folder, *annotations, images=(IMAGE,), first="images"):
    second = {"images": "annotations", "annotations": "images"}[first]
    values = {"images": list(images), "annotations": list(annotations)}
    document = {
        "info": {"version": "1.0"},
        first: values[first],
        "licenses": [],
        "type": "fixations",
        second: values[second],
    }
    path = folder / "fixations_train2014.json"
    path.write_text(json.dumps(document))
    return path


def annotation(**fields):
    return {
        "image_id": 123855,
        "fixations": [[ROW, COLUMN], [1, 640]],
        "worker_id": 128,
        "id": 1,
    } | fields


def test_salicon_json_is_row_then_column_from_1(tmp_path):
    path = salicon_json(tmp_path, annotation())
    found = view("salicon", path)
    assert points(found) == [("move", *AT), ("move", 639.5 / 640, 0.5 / 480)]
    assert [found[key] for key in ("image_id", "annotator", "width", "height")] == [
        "123855",
        "128",
        640,
        480,
    ]
    assert found["event_time_ms"] == [None, None]
    assert fidelity("salicon", path) == {"has_path", "has_annotator"}
    (typed,) = views("salicon", path, points="fixations")
    assert points(typed)[0] == ("fixation", *AT)


def test_salicon_json_says_what_it_cannot_use(tmp_path):
    unknown = Counter()
    several = [annotation(), annotation(image_id=5, id=2), annotation(score=1, id=3)]
    found = readings("salicon", salicon_json(tmp_path, *several), unknown=unknown)
    assert [len(reading.table) for reading in found] == [2]
    assert [error.rule for error in found[0].errors] == ["unknown-image"]
    assert unknown == {"annotations.score": 1}
    with pytest.raises(ArchiveError, match="images and then annotations"):
        readings("salicon", salicon_json(tmp_path, annotation(), first="annotations"))
    with pytest.raises(ArchiveError, match="one of the annotations is not"):
        readings("salicon", salicon_json(tmp_path, annotation(fixations=[[1, 2, 3]])))
    with pytest.raises(OptionError, match="points"):
        readings("salicon", salicon_json(tmp_path), points="gaze")


def gaze(location, timestamp=None, fixations=((300, 200),)):
    location = np.array(location, float).reshape(-1, 2)
    timestamp = 16.0 * np.arange(1, len(location) + 1) if timestamp is None else timestamp
    return {
        "location": location,
        "timestamp": np.array(timestamp, float).reshape(-1, 1),
        "fixations": np.array(fixations, float).reshape(-1, 2),
    }


def salicon_mat(folder, *gazes, name="COCO_train2014_000000123855"):
    """As fixations.zip has it: `gaze` is N x 1, `resolution` is height, width."""
    fields = [("location", object), ("timestamp", object), ("fixations", object)]
    array = np.empty((len(gazes), 1), fields)
    for k, one in enumerate(gazes):
        array[k, 0] = tuple(one.values())
    path = folder / f"{name}.mat"
    savemat(path, {"image": name, "resolution": np.array([[480, 640]]), "gaze": array})
    return path


def test_salicon_matlab_is_x_then_y_from_1_in_ms(tmp_path):
    path = salicon_mat(
        tmp_path,
        gaze([(COLUMN, ROW), (700, -3)], [12, 4990]),
        gaze([(COLUMN, ROW)], [3]),
    )
    found = views("salicon", path)
    assert points(found[0]) == [("move", *AT), ("move", 699.5 / 640, -3.5 / 480)]
    assert found[0]["event_time_ms"] == [12, 4990]
    assert points(found[1]) == [("move", *AT)]
    assert {row["image_id"] for row in found} == {"123855"}
    assert [(row["width"], row["height"], row["annotator"]) for row in found] == [
        (640, 480, None)
    ] * 2
    assert fidelity("salicon", path) == {"has_path", "has_time"}
    inferred = views("salicon", path, points="fixations")
    assert points(inferred[0]) == [("fixation", 299.5 / 640, 199.5 / 480)]
    assert inferred[0]["event_time_ms"] == [None]


def test_a_worker_alone_or_without_samples_is_a_view_too(tmp_path):
    assert points(view("salicon", salicon_mat(tmp_path, gaze([(COLUMN, ROW)], [512])))) == [
        ("move", *AT)
    ]
    nobody = gaze([], [], [])
    found = views("salicon", salicon_mat(tmp_path, nobody, gaze([(COLUMN, ROW)] * 2, [512])))
    assert [len(row["event"]) for row in found] == [0, 2]
    assert found[1]["event_time_ms"] == [None, None]  # one time for two points: whose is it?


def test_other_files_are_refused_as_salicon(tmp_path):
    with pytest.raises(ArchiveError, match=r"last timestamp is 4\.9; expected ms"):
        readings("salicon", salicon_mat(tmp_path, gaze([(1, 2), (3, 4)], [0.1, 4.9])))
    odd = {"gaze": np.zeros(3), "resolution": "?"}
    savemat(tmp_path / "odd.mat", odd)
    with pytest.raises(ArchiveError, match="expected height and width"):
        readings("salicon", tmp_path / "odd.mat")
    savemat(tmp_path / "odd.mat", {**odd, "resolution": [480, 640]})
    assert [rule for rule, _ in errors("salicon", tmp_path / "odd.mat")] == ["not-a-gaze"] * 3
    savemat(tmp_path / "map.mat", {"I": np.eye(2)})
    with pytest.raises(ArchiveError, match="has no gaze and no resolution"):
        readings("salicon", tmp_path / "map.mat")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400)
    (tmp_path / "new.mat").write_bytes(header)
    with pytest.raises(ArchiveError, match=r"version 7\.3"):
        readings("salicon", tmp_path / "new.mat")
    whole = salicon_mat(tmp_path, gaze([(1, 2)])).read_bytes()
    for damaged in (whole[:300], whole[:126], whole[:128] + b"\xff" + whole[129:]):
        (tmp_path / "cut.mat").write_bytes(damaged)
        with pytest.raises(ArchiveError, match="damaged"):
            readings("salicon", tmp_path / "cut.mat")
    savemat(tmp_path / "cut.mat", {"gaze": 1j * np.eye(2), "resolution": [480, 640]})
    with pytest.raises(ArchiveError, match="expected numbers, text, cells, structs"):
        readings("salicon", tmp_path / "cut.mat")


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files_are_read_as_scipy_reads_them(tmp_path, compressed):
    inner = np.empty((1, 2), [("a", object), ("long_name", object)])
    inner[0, 0], inner[0, 1] = ("x", np.zeros((0, 0))), (np.arange(6.0).reshape(2, 3), "Käse")
    cell = np.empty((2, 1), object)
    cell[0, 0], cell[1, 0] = "one", np.array([[7]], np.uint8)
    values = {"s": inner, "c": cell, "n": np.array([[1, 2], [3, 4]], ">i2"), "lines": ["ab", "cd"]}
    savemat(tmp_path / "a.mat", values, do_compression=compressed)
    found = read_mat(tmp_path / "a.mat", lambda _: None)
    first, second = found["s"]
    assert (first["a"], first["long_name"].shape) == ("x", (0, 0))
    assert second["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and second["long_name"] == "Käse"
    assert (found["c"][0], found["c"][1].tolist()) == ("one", [[7]])
    assert found["n"].tolist() == [[1, 2], [3, 4]] and found["lines"] == ["ab", "cd"]


# --- BubbleView ----------------------------------------------------------------------------------

STAMPS = ["2016-02-04 00:34:18", "2016-02-04 00:34:21"]


def bubbleview(folder, name, enc, times, file="COCO_train2014_000000001014.jpg", **more):
    """As the repository has it: structs of cells, pictures beside the file."""
    users = np.empty((1, 1), [(key, object) for key in ("fixations", *more)])
    times = np.array(times, object).reshape(-1, 1)
    fixations = {"enc": np.array(enc), "rec": np.zeros((0, 0), np.uint8), "enc_time": times}
    users[0, 0] = (fixations, *more.values())
    bubble = np.empty((1, 1), [(key, object) for key in ("filename", "impath", "userdata")])
    bubble[0, 0] = (file, f"targets/{file}", users)
    savemat(folder / name, {"bubble": bubble})
    return folder / name


def test_bubbleview_clicks_are_x_then_y_from_0(tmp_path):
    picture(tmp_path / "targets", "COCO_train2014_000000001014.jpg")
    path = bubbleview(tmp_path, "salicon30x30.mat", [[160.5, 96.0], [640, 0.0]], STAMPS)
    found = view("bubbleview", path)
    assert points(found) == [("click", 160.5 / 640, 96 / 480), ("click", 1.0, 0.0)]
    assert found["event_time_ms"] == [0, 3000]
    assert [found[key] for key in ("image_id", "arm", "width", "height", "annotator")] == [
        *("1014", "salicon30x30"),
        *(640, 480, None),
    ]
    assert fidelity("bubbleview", path) == {"has_time"}
    moves = view("bubbleview", path.rename(tmp_path / "saliconMM30.mat"))
    assert [EVENTS[code] for code in moves["event"]] == ["move", "move"]


def test_bubbleview_says_no_time_that_it_cannot_tell(tmp_path):
    picture(tmp_path / "targets", "1004.jpg")
    words = {"type": "final", "text": "Africa", "groupID": 0}
    path = bubbleview(
        *(tmp_path, "osie30x30.mat", [[160.5, 96.0]], STAMPS, "1004.jpg"), descriptions=words
    )
    found = view("bubbleview", path)
    assert found["event_time_ms"] == [None]
    assert (found["image_id"], found["answer"]) == ("osie_1004", "Africa")


def test_bubbleview_needs_the_pictures(tmp_path):
    path = bubbleview(tmp_path, "salicon30x30.mat", [[160.5, 96.0]], STAMPS[:1])
    with pytest.raises(OptionError, match="sizes of the pictures are needed"):
        readings("bubbleview", path)
    picture(tmp_path / "given", "COCO_train2014_000000001014.png", (320, 240))
    found = view("bubbleview", path, images=str(tmp_path / "given"))
    assert points(found) == [("click", 160.5 / 320, 96 / 240)]
    picture(tmp_path / "others", "2.png")
    assert errors("bubbleview", path, images=str(tmp_path / "others")) == [
        (
            "no-size",
            "COCO_train2014_000000001014.jpg is not among the pictures given, so its size is not"
            " known",
        )
    ]


def test_what_bubbleview_was_compared_with_is_not_taken_for_clicks(tmp_path):
    picture(tmp_path / "targets", "COCO_train2014_000000001014.jpg")
    path = bubbleview(tmp_path, "salicon_gt.mat", [[295, 247]], ["2016/04/08 11:45:10"])
    with pytest.raises(ArchiveError, match="what they were compared with"):
        readings("bubbleview", path)
    bubbleview(tmp_path, "salicon30x30.mat", [[1, 2]], STAMPS[:1])
    assert len(views("bubbleview", tmp_path)) == 1
    for other in ({"bubble": np.eye(2)}, {"maps": np.eye(2)}):
        savemat(tmp_path / "other.mat", other)
        with pytest.raises(ArchiveError, match=r"like salicon30x30\.mat"):
            readings("bubbleview", tmp_path / "other.mat")


def test_the_live_tool_shrinks_pictures_to_its_canvas(tmp_path):
    picture(tmp_path / "seen", "tall.png", (1000, 500))
    picture(tmp_path / "seen", "small.png", (100, 200))
    epoch = 1_454_546_058_250
    clicks = [
        {"image": "tall.png", "timestamp": epoch, "cx": 100, "cy": 175, "radius": 30, "blur": 20},
        {"image": "tall.png", "timestamp": epoch + 750, "cx": 400, "cy": 10, "radius": 30},
        {"image": "small.png", "timestamp": epoch + 900, "cx": 25, "cy": 150, "radius": 30},
    ]
    path = tmp_path / "clicks.json"
    path.write_text(json.dumps(clicks))
    options = {"images": str(tmp_path / "seen"), "canvas": "500x500"}
    tall, small = views("bubbleview", path, **options)
    assert points(tall) == [("click", 0.2, 0.7), ("click", 0.8, 0.04)]
    assert (tall["event_time_ms"], tall["epoch_ms"]) == ([0, 750], epoch)
    assert points(small) == [("click", 0.25, 0.75)]  # never made larger
    assert fidelity("bubbleview", path, **options) == {"has_time", "has_clock"}
    with pytest.raises(OptionError, match="canvas"):
        readings("bubbleview", path, images=str(tmp_path / "seen"))
    path.write_text(json.dumps([{**clicks[0], "cx": None}, {**clicks[0], "image": "no.png"}]))
    assert [rule for rule, _ in errors("bubbleview", path, **options)] == ["not-a-view"] * 2
    path.write_text(json.dumps([{**clicks[0], "image": {}}]))
    with pytest.raises(ArchiveError, match="name it"):
        readings("bubbleview", path, **options)
    assert points(view("bubbleview", path, image="tall.png", **options))[0][1:] == (0.2, 0.7)


# --- ClickMe -------------------------------------------------------------------------------------


def lists(*values):
    found = np.empty(len(values), object)
    found[:] = [list(value) for value in values]
    return found


def clickme(folder, **arrays):
    defaults = {
        "file_pointer": np.array(["imagenet/val/ILSVRC2012_val_00000293.png", "mouse/37.png"]),
        "clickmap_x": lists([COLUMN - 1, 0], [640]),
        "clickmap_y": lists([ROW - 1, 479], [480]),
        "user_id": np.array([17, 18]),
        "user_catch_trial": np.array([1.0, 0.5]),
        "is_mobile": lists([True], []),
    }
    np.savez(folder / "dump.npz", **defaults | arrays)
    return folder / "dump.npz"


def test_clickme_is_x_then_y_from_0_of_the_picture_itself(tmp_path):
    picture(tmp_path / "val", "ILSVRC2012_val_00000293.png")
    picture(tmp_path / "val", "37.png", (1280, 960))
    path, options = clickme(tmp_path), {"images": str(tmp_path / "val")}
    first, second = views("clickme", path, **options)
    assert points(first) == [("click", *AT), ("click", 0.5 / 640, 479.5 / 480)]
    assert points(second) == [("click", 640.5 / 1280, 480.5 / 960)]
    assert [first[key] for key in ("image_id", "label", "annotator", "width", "height")] == [
        *("ILSVRC2012_val_00000293", None, "17"),
        *(640, 480),
    ]
    assert (second["image_id"], second["label"]) == ("clickme_37", "mouse")
    assert (first["event_pointer"], second["event_pointer"]) == (["touch", "touch"], None)
    assert first["event_time_ms"] == [None, None]
    assert fidelity("clickme", path, **options) == {"has_annotator"}
    unknown = Counter()
    (kept,) = readings("clickme", path, unknown=unknown, catch="0.95", **options)
    assert kept.table["annotator"].to_pylist() == ["17"]
    assert unknown == {"score in catch trials below --catch": 1}


def test_clickme_of_another_frame_says_so(tmp_path):
    path = clickme(tmp_path, clickmap_x=lists([64], [1]), clickmap_y=lists([191], [2]))
    with pytest.raises(OptionError, match="--frame 256x256"):
        readings("clickme", path)
    first, _ = views("clickme", path, frame="256x256")
    assert points(first) == [("click", 64.5 / 256, 191.5 / 256)]
    assert (first["width"], first["height"]) == (None, None)
    with pytest.raises(OptionError, match="frame"):
        readings("clickme", path, frame="256")
    with pytest.raises(OptionError, match="catch"):
        readings("clickme", path, frame="256x256", catch="high")


def test_clickme_csv_is_text_of_pairs(tmp_path):
    path = tmp_path / "clickme_vCO3D.csv"
    path.write_text(
        "image_path,clicks,user_id,extra\n"
        '"mouse/372_41138_81919_renders_00017.png","{""(64,191)"",""(3,4)""}",u1,7\n'
        '"kite/399.png","{}",u2,\n'
    )
    unknown = Counter()
    found = readings("clickme", path, unknown=unknown, frame="256x256")
    first, second = found[0].table.to_pylist()
    assert points(first) == [("click", 64.5 / 256, 191.5 / 256), ("click", 3.5 / 256, 4.5 / 256)]
    assert (first["image_id"], first["label"]) == ("372_41138_81919_renders_00017", "mouse")
    assert second["event"] == []
    assert unknown == {"extra": 2}
    with pytest.raises(OptionError, match="no score in catch trials"):
        readings("clickme", path, frame="256x256", catch="0.95")
    path.write_text('image_path,clicks,user_id\nmouse/1.png,"{""(a,4)""}",u1\n')
    assert [rule for rule, _ in errors("clickme", path, frame="256x256")] == ["not-a-click-map"]


class _Runs:
    def __reduce__(self):
        return (open, ("/tmp/luab-must-not-be-written", "w"))


def test_a_dump_that_would_run_something_is_refused(tmp_path):
    bad = np.empty(1, object)
    bad[0] = _Runs()
    one = {"file_pointer": np.array(["a/1.png"]), "user_id": np.array([1])}
    path = clickme(tmp_path, clickmap_x=bad, clickmap_y=lists([1]), **one)
    with pytest.raises(ArchiveError, match=r"asks to run (_io|io)\.open"):
        readings("clickme", path, frame="256x256")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clickmap_x.npy", header.getvalue() + pickle.dumps([1, 2]))
    with pytest.raises(ArchiveError, match="a pickled list"):
        readings("clickme", path, frame="256x256")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_of_any_pickle_are_read(tmp_path, protocol):
    path = clickme(tmp_path)
    arrays = dict(np.load(path, allow_pickle=True))
    arrays["clickmap_x"][0] = np.array([COLUMN - 1, 0], ">i4")
    arrays["clickmap_y"][0] = [np.float64(ROW - 1), 0]
    arrays["user_id"] = np.array([np.int64(17), "u18"], object)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                file,
                {
                    "descr": np.lib.format.dtype_to_descr(array.dtype),
                    "fortran_order": False,
                    "shape": array.shape,
                },
            )
            is_object = array.dtype.hasobject
            body = pickle.dumps(array, protocol) if is_object else array.tobytes()
            archive.writestr(f"{name}.npy", file.getvalue() + body)
    first, second = views("clickme", path, frame="640x480")
    assert points(first)[0] == ("click", *AT)
    assert [first["annotator"], second["annotator"]] == ["17", "u18"]


def test_a_dump_of_other_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "maps.npz", heatmap=np.zeros((2, 2)))
    with pytest.raises(ArchiveError, match="has no file_pointer"):
        readings("clickme", tmp_path / "maps.npz", frame="256x256")
    lonely = {name: np.array(1) for name in ("clickmap_x", "clickmap_y", "user_id")}
    path = clickme(tmp_path, file_pointer="a/1.png", user_catch_trial=["x"], is_mobile=[], **lonely)
    assert [rule for rule, _ in errors("clickme", path, frame="256x256")] == ["not-a-click-map"]
    with pytest.raises(ArchiveError, match="expected equally many"):
        readings("clickme", clickme(tmp_path, user_id=np.array([1])), frame="256x256")
    (tmp_path / "cut.npz").write_bytes(clickme(tmp_path).read_bytes()[:100])
    with pytest.raises(ArchiveError, match="cannot be read"):
        readings("clickme", tmp_path / "cut.npz", frame="256x256")


# --- COCO-Search18 -------------------------------------------------------------------------------


def trial(points, scale=1.0, **fields):
    """On the display; the first fixation is the one on its centre."""
    xy = scale * np.array([(842.5, 522.0), *points])
    return {
        "name": "000000400966.jpg",
        "subject": 2,
        "task": "microwave",
        "condition": "present",
        "bbox": [220, 374, 256, 138],
        "X": xy[:, 0].tolist(),
        "Y": xy[:, 1].tolist(),
        "T": [190, *(63 for _ in points)],
        "length": len(xy),
        "fixOnTarget": True,
        "correct": 1,
        "RT": 920,
        "split": "train",
    } | fields


def search18(folder, *trials, name="coco_search18_fixations_TP_train_split1.json"):
    (folder / name).write_text(json.dumps(trials))
    return folder / name


def instances(folder, width=640, height=480):
    path = folder / "instances_train2014.json"
    file = "COCO_train2014_000000400966.jpg"
    image = {"id": 400966, "width": width, "height": height, "file_name": file}
    path.write_text(
        json.dumps(
            {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
        )
    )
    return {"instances": str(path)}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (140, 0, 1400, 1050)),
        ((480, 640), (446, 0, 787, 1050)),
        ((640, 320), (0, 105, 1680, 840)),
        ((1680, 1050), (0, 0, 1680, 1050)),
    ],
)
def test_bars_are_where_the_publisher_put_them(size, expected):
    assert shown(*size) == expected


@pytest.mark.parametrize("scale", [1.0, 512 / 1680])
@pytest.mark.parametrize(
    ("size", "dot"), [((640, 480), (490, 840)), ((480, 640), (446 + 787 / 4, 840)),
                      ((640, 320), (420, 105 + 672))]
)  # fmt: skip
def test_bars_are_taken_off(tmp_path, scale, size, dot):
    path = search18(tmp_path, trial([dot, (1703.8, 1309.5)], scale))
    found = view("coco-search18", path, **instances(tmp_path, *size))
    kinds, x, y = zip(*points(found), strict=True)
    assert kinds == ("enter", "fixation", "fixation")
    assert (x[1], y[1]) == (pytest.approx(0.25), pytest.approx(0.8))
    assert x[2] > 1 and y[2] > 1  # off the display, and kept
    sides = ("shown_x", "shown_y", "shown_width", "shown_height")
    assert tuple(found[side] for side in sides) == shown(*size)


def test_a_fixation_has_a_length_and_no_time(tmp_path):
    path = search18(tmp_path, trial([(490, 840)]), trial([(490, 840)], correct=0, subject=10))
    options = instances(tmp_path)
    right, wrong = views("coco-search18", path, **options)
    assert [EVENTS[code] for code in right["event"]] == ["load", "enter", "fixation", "submit"]
    assert right["event_duration_ms"] == [None, 190, 63, None]
    assert right["event_time_ms"] == [0, None, None, 920]
    assert right["event_pointer"] == [None, "eye", "eye", None]
    keys = ("image_id", "label", "arm", "answer", "annotator")
    assert [right[key] for key in keys] == ["400966", "microwave", "present", "present", "2"]
    assert [wrong[key] for key in keys] == ["400966", "microwave", "present", "absent", "10"]
    more = search18(tmp_path, trial([(490, 840), (1, 2)]))
    assert fidelity("coco-search18", more, **options) == {
        "has_path",
        "has_layout",
        "has_annotator",
    }


def test_absent_targets_are_read_too(tmp_path):
    absent = trial([(490, 840)], condition="absent")
    for key in ("bbox", "fixOnTarget", "RT"):
        del absent[key]
    unknown = Counter()
    name = "coco_search18_fixations_TA_trainval.json"
    (found,) = readings(
        "coco-search18",
        search18(tmp_path, {**absent, "age": 20}, name=name),
        unknown=unknown,
        **instances(tmp_path),
    )
    (row,) = found.table.to_pylist()
    assert (row["arm"], row["answer"], row["event_time_ms"]) == ("absent", "absent", [None, None])
    assert unknown == {"age": 1}


def test_search_without_the_picture_or_in_another_frame_is_refused(tmp_path):
    path = search18(tmp_path, trial([(490, 840)]))
    with pytest.raises(OptionError, match="black bars"):
        readings("coco-search18", path)
    picture(tmp_path / "padded", "000000400966.jpg", (1680, 1050))
    with pytest.raises(OptionError, match="with its bars"):
        readings("coco-search18", path, images=str(tmp_path / "padded"))
    picture(tmp_path / "others", "000000000009.jpg")
    refused = errors("coco-search18", path, images=str(tmp_path / "others"))
    assert [rule for rule, _ in refused] == ["no-size"]
    options = instances(tmp_path)
    with pytest.raises(ArchiveError, match="trials begin around"):
        readings("coco-search18", search18(tmp_path, trial([(1, 2)], 0.5)), **options)
    uneven = [trial([(490, 840)]), trial([(490, 840)], T=[1])]
    refused = errors("coco-search18", search18(tmp_path, *uneven), **options)
    assert refused == [("not-a-trial", "2 X, 2 Y and 1 T")]
    with pytest.raises(ArchiveError, match="no trial of COCO-Search18"):
        readings("coco-search18", search18(tmp_path, {"name": "x"}), **options)


# --- what they share -----------------------------------------------------------------------------


def mini(name, folder):
    """Words of the command that reads a miniature of each source."""
    picture(folder / "seen", "COCO_train2014_000000001014.png")
    seen = ["--images", folder / "seen"]
    if name == "localized-narratives":
        return [narratives(folder, NARRATIVE, {**NARRATIVE, "annotator_id": 94})]
    if name == "salicon":
        return [salicon_mat(folder, gaze([(COLUMN, ROW), (700, -3)], [12, 4990]))]
    if name == "bubbleview":
        return [bubbleview(folder, "salicon30x30.mat", [[160.5, 96.0]], STAMPS[:1]), *seen]
    if name == "clickme":
        return [clickme(folder), "--frame", "640x480"]
    options = instances(folder)
    return [search18(folder, trial([(490, 840)])), "--instances", options["instances"]]


NAMES = ("localized-narratives", "salicon", "bubbleview", "clickme", "coco-search18")


@pytest.mark.parametrize("name", NAMES)
def test_every_source_becomes_a_dataset_that_is_sound(tmp_path, name):
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    out = tmp_path / "out"
    done = luab("convert", name, *mini(name, tmp_path), "--out", out, "--worker-key-file", key)
    assert done.exit_code == 0, done.output
    manifest = read_manifest(out)
    assert manifest["collection"]["source"] == name and manifest["fidelity"]["num_views"]
    checked = luab("check", out)
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("000000400966.jpg", "400966"),
        ("COCO_val2014_000000000009.jpg", "9"),
        ("val2017/000000000139.png", "139"),
        ("1004.jpg", "osie_1004"),
        ("n01440764/n01440764_10026.JPEG", "n01440764_10026"),
        ("Käse(2).png", "Käse(2)"),
    ],
)
def test_only_pictures_of_coco_are_bare_numbers(file, expected):
    assert picture_id(file, "osie") == expected


def test_a_batch_without_views_is_an_empty_table():
    assert len(PointViews("mouse").take().table) == 0
