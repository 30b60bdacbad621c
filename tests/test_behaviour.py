"""What people did beside what they answered: planted worlds, worked examples, a slow reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import luab_data
from luab_data.behaviour.consensus import agree
from luab_data.behaviour.difficulty import read_losses
from luab_data.behaviour.views import answers_of, views_of
from luab_data.cli import main
from luab_data.errors import OptionError
from luab_data.join.sources import dataset_rows
from luab_data.kinds import kind_of
from luab_data.store.folder import read_manifest

KEY = b"a key of sixteen bytes"


def view(
    kind: str, image: str, worker: str | None, events: list[dict[str, Any]], **more: Any
) -> dict:
    return {"byproducts": 1, "kind": kind, "image": {"id": image}, "annotator": worker,
            "events": events, **more}  # fmt: skip


def convert(folder: Path, kind: str, views: list[dict[str, Any]], **options: Any) -> Path:
    log = folder / f"{kind}.jsonl"
    log.write_text("\n".join(map(json.dumps, views)))
    made = getattr(luab_data, f"convert_{kind}")
    made(log, folder / kind, worker_key=KEY, shown=False, **options)
    return folder / kind


def views(folder: Path) -> list[dict[str, Any]]:
    return views_of(folder, kind_of(read_manifest(folder))).to_pylist()


def visit(start: int, end: int, *clicks: tuple[int, bool]) -> list[dict[str, Any]]:
    inside = [{"type": "click", "t": t, "x": 0.5, "y": 0.5, "state": s} for t, s in clicks]
    moves = [{"type": "move", "t": start + 1, "x": 0.4, "y": 0.4}]
    return [{"type": "enter", "t": start}, *moves, *inside, {"type": "leave", "t": end}]


def test_of_a_browsing_log_each_view_says_yes_or_no_and_how_long_it_took(tmp_path: Path):
    twice = [*visit(0, 100, (50, True), (60, False)), *visit(200, 400, (300, True))]
    folder = convert(tmp_path, "browsing", [
        view("browsing", "a", "ann", twice, asked={"class": "Käse"}),
        view("browsing", "a", "bob", visit(0, 40), asked={"class": "Käse"}),
        view("browsing", "b", "bob", [], asked={"class": "Käse"}),
    ])  # fmt: skip
    first, second, third = views(folder)
    assert (first["time_ms"], first["visits"], first["corrections"]) == (300, 2, 1)
    assert first["answer"] == ["Käse"] and second["answer"] == third["answer"] == []
    assert second["time_ms"] == 40 and third["time_ms"] is None
    answers = answers_of(views_of(folder, kind_of(read_manifest(folder)))).to_pylist()
    assert [(a["task"], a["label"]) for a in answers] == [
        ("a/Käse", "yes"), ("a/Käse", "no"), ("b/Käse", "no"),
    ]  # fmt: skip


def test_of_a_tagging_log_a_class_that_one_saw_is_asked_of_all(tmp_path: Path):
    def add(name: str, t: int, what: str = "add") -> dict[str, Any]:
        return {"type": what, "label": name, "t": t, "x": 0.5, "y": 0.5}

    folder = convert(tmp_path, "tagging", [
        view("tagging", "a", "ann", [add("dog", 1), add("cat", 2), add("cat", 3, "remove")]),
        view("tagging", "a", "bob", [add("cup", 1)]),
        view("tagging", "b", "bob", [add("cat", 1)]),
    ])  # fmt: skip
    table = views_of(folder, kind_of(read_manifest(folder)))
    assert table["corrections"].to_pylist() == [1, 0, 0]
    found = {(a["task"], a["view"]): a["label"] for a in answers_of(table).to_pylist()}
    assert found == {
        ("a/dog", 0): "yes", ("a/cup", 0): "no", ("a/dog", 1): "no", ("a/cup", 1): "yes",
        ("b/cat", 2): "yes",
    }  # fmt: skip


def test_of_a_tracing_log_the_answer_is_what_was_said(tmp_path: Path):
    folder = convert(tmp_path, "tracing", [
        view("tracing", "a", "ann", [], answer="frog"), view("tracing", "a", None, [], answer="x"),
        view("tracing", "a", "bob", []),
    ])  # fmt: skip
    answers = answers_of(views_of(folder, kind_of(read_manifest(folder)))).to_pylist()
    assert [(a["task"], a["label"], a["view"]) for a in answers] == [("a", "frog", 0)]


# --- consensus -----------------------------------------------------------------------------------


def crowd(seed: int, *, hurried: float, tasks: int = 300) -> tuple[dict[str, Any], dict[str, str]]:
    """Answers of 15 people of different care; `hurried` is how much worse a quick answer is."""
    rng = np.random.default_rng(seed)
    care = rng.uniform(0.7, 0.95, 15)
    truth = {f"t{t}": ("yes", "no")[rng.integers(2)] for t in range(tasks)}
    rows: dict[str, list[Any]] = {"task": [], "worker": [], "label": [], "time_ms": []}
    for task, true in truth.items():
        for worker in rng.choice(15, 5, replace=False).tolist():
            z = rng.normal()
            is_blind = rng.random() < 1 / (1 + np.exp(1 + hurried * z))
            chance = 0.5 if is_blind else care[worker]
            label = true if rng.random() < chance else {"yes": "no", "no": "yes"}[true]
            for name, value in zip(rows, (task, f"w{worker}", label, np.exp(7 + z)), strict=True):
                rows[name].append(value)
    return rows, truth


def asked(rows: dict[str, Any], *, with_times: bool) -> Any:
    columns = (pa.chunked_array([pa.array(rows[k])]) for k in ("task", "worker", "label"))
    return agree(*columns, np.array(rows["time_ms"]) if with_times else None)


def right(found: Any, truth: dict[str, str], column: str = "label") -> float:
    table = found.to_table().to_pydict()
    return float(
        np.mean([truth[t] == g for t, g in zip(table["task"], table[column], strict=True)])
    )


def test_times_that_tell_hurried_answers_help_and_times_that_tell_nothing_do_not():
    rows, truth = crowd(0, hurried=2.5)
    timed, plain = asked(rows, with_times=True), asked(rows, with_times=False)
    assert 1.5 < timed.time_slope < 3 and timed.gain.low > 0.003
    assert right(timed, truth) > right(plain, truth)
    assert right(timed, truth) > right(timed, truth, "majority")
    rows["time_ms"] = np.random.default_rng(1).permutation(rows["time_ms"]).tolist()
    lost = asked(rows, with_times=True)
    assert lost.gain.low < 0 or lost.gain.value < timed.gain.value / 3
    assert plain.time_slope is None and plain.gain is None


def test_people_are_told_apart_and_probabilities_mean_what_they_say():
    rows, truth = crowd(2, hurried=0.0, tasks=600)
    found = asked(rows, with_times=False)
    care = np.random.default_rng(2).uniform(0.7, 0.95, 15)
    own = dict(zip(*(found.workers[c].to_pylist() for c in ("worker", "accuracy")), strict=True))
    known = [own[f"w{k}"] for k in range(15)]
    assert np.corrcoef(known, care)[0, 1] > 0.7
    sure = found.to_table().to_pandas()
    sure["right"] = sure["task"].map(truth) == sure["label"]
    assert abs(sure["right"].mean() - sure["probability"].mean()) < 0.05


def test_dawid_and_skene_by_hand_for_two_people_who_always_agree():
    columns = {
        "task": ["a", "a", "b", "b"],
        "worker": ["x", "y"] * 2,
        "label": ["p", "p", "q", "q"],
    }
    found = agree(*(pa.chunked_array([pa.array(v)]) for v in columns.values()))
    table = found.to_table().to_pydict()
    assert table["label"] == table["majority"] == ["p", "q"] and table["share"] == [1, 1]
    assert min(table["probability"]) > 0.9 and found.workers["num_answers"].to_pylist() == [2, 2]


def test_a_tie_is_decided_against_nobody():
    columns = (["a", "a", "b", "b"], ["x", "y"] * 2, ["p", "q", "p", "p"])
    found = agree(*(pa.chunked_array([pa.array(values)]) for values in columns))
    assert found.to_table()["share"].to_pylist() == [0.5, 1] and found.num_overruled == 0


def test_the_command_writes_what_crowd_kit_reads_and_leaves_single_answers_out(tmp_path: Path):
    seen = [view("browsing", "a", w, visit(0, 50, (20, True)), asked={"class": "c"}) for w in "xyz"]
    folder = convert(tmp_path, "browsing", [
        *seen, view("browsing", "b", "x", [], asked={"class": "c"}),
    ])  # fmt: skip
    given = ["consensus", str(folder), "--answers", str(tmp_path / "answers.csv")]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert "Consensus on 1 task of 3 workers\ntasks of one answer, left out: 1" in done.output
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0] == '"task","worker","label"' and len(lines) == 5
    lonely = convert(tmp_path, "tagging", [view("tagging", "a", "x", [
        {"type": "add", "label": "dog", "x": 0.1, "y": 0.1, "t": 1}])])  # fmt: skip
    with pytest.raises(OptionError, match="no task has two answers"):
        luab_data.consensus(lonely)


# --- difficulty ----------------------------------------------------------------------------------


def timed_log(folder: Path, slope: float) -> tuple[Path, dict[str, float]]:
    """People who take `slope` more time by loss; slow people see the easy images."""
    rng = np.random.default_rng(3)
    losses = {f"img{k:03d}": float(rng.random()) for k in range(120)}
    seen = []
    for image, loss in losses.items():
        for worker in range(6):
            if worker == 0 and loss > 0.5:  # who is slow sees what is easy
                continue
            usual = 3500 if worker == 0 else 500 + 300 * worker
            took = int(usual + slope * 800 * loss + 100 * rng.random())
            seen.append(view("browsing", image, f"w{worker}", visit(0, took), asked={"class": "c"}))
    return convert(folder, "browsing", seen), losses


@pytest.mark.parametrize(("slope", "low", "high"), [(1.0, 0.5, 1.0), (0.0, -0.15, 0.15)])
def test_time_goes_with_loss_within_people(tmp_path: Path, slope: float, low: float, high: float):
    folder, losses = timed_log(tmp_path, slope)
    table = pa.table(
        {"image_id": [f"some/where/{k}.jpg" for k in losses], "loss": [*losses.values()]}
    )
    found = luab_data.difficulty(folder, table)
    estimate = found.estimates["time_ms"]
    assert low < estimate.value < high and estimate.low <= estimate.value <= estimate.high
    assert estimate.n == found.num_views
    assert np.isnan(found.estimates["corrections"].value)  # nobody took anything back


def test_losses_are_read_from_what_eval_stores_and_refused_otherwise(tmp_path: Path):
    folder, losses = timed_log(tmp_path, 1.0)
    stored = pa.table(
        {"image_id": [*losses], "label_log_probability": [-v for v in losses.values()]}
    )
    pq.write_table(stored, tmp_path / "part.parquet")
    done = CliRunner().invoke(
        main, ["difficulty", str(folder), "--losses", str(tmp_path / "part.parquet")]
    )
    assert done.exit_code == 0 and done.output.splitlines()[1].startswith("time_ms"), done.output
    value = luab_data.difficulty(folder, stored).estimates["time_ms"].value
    as_loss = pa.table({"image_id": [*losses], "loss": [*losses.values()]})
    assert value == luab_data.difficulty(folder, as_loss).estimates["time_ms"].value
    with pytest.raises(OptionError, match="has image_id; expected `image_id` and `loss`"):
        luab_data.difficulty(folder, stored.select(["image_id"]))
    with pytest.raises(OptionError, match="has a loss of no image"):
        luab_data.difficulty(folder, pa.table({"image_id": ["other"], "loss": [1.0]}))


def test_a_loss_is_of_the_picture_in_its_folder_not_of_another_of_its_name(tmp_path: Path):
    """The first 1.jpg is image `1`, that of another class `dog_1`; of kinds without, `dog/1`."""
    seen = [
        {**view("browsing", "1", "ann", visit(0, 9), asked={"class": c}),
         "image": {"id": "1", "file": f"pics/{c}/1.jpg"}}
        for c in ("cat", "dog")
    ]  # fmt: skip
    looked = [view("tracing", f"{c}/1", "ann", visit(0, 9)) for c in ("cat", "dog")]
    for kind, log, ids in (
        ("browsing", seen, ("1", "dog_1")), ("tracing", looked, ("cat/1", "dog/1"))
    ):  # fmt: skip
        folder = convert(tmp_path, kind, log)
        rows = dataset_rows(folder)
        for names in (ids, ("/x/cat/1.jpg", "/x/dog/1.jpg"), ("cat/1", "dog/1")):
            table = pa.table({"image_id": names, "loss": [0.25, 4.0]})
            assert read_losses(table, rows) == dict(zip(ids, (0.25, 4.0), strict=True)), names
            assert read_losses(table.slice(1), rows) == {ids[1]: 4.0}
        pictures = tmp_path / kind / "pictures"
        for c in ("cat", "dog"):
            (pictures / c).mkdir(parents=True)
            (pictures / c / "1.jpg").touch()
        joined = luab_data.join_images(folder, pictures)
        found = joined.table["image_path"].to_pylist()
        assert [f.split("/")[-2:] for f in found] == [["cat", "1.jpg"], ["dog", "1.jpg"]]


def test_two_losses_of_one_image_are_refused(tmp_path: Path):
    folder, _ = timed_log(tmp_path, 0.0)
    twice = pa.table({"image_id": ["cat/img001.jpg", "dog/img001.jpg"], "loss": [0.25, 4.0]})
    with pytest.raises(OptionError, match=r"'cat/img001.jpg' and 'dog/img001.jpg' both may be"):
        tracing = [view("tracing", "img001", "ann", visit(0, 9))]
        luab_data.difficulty(convert(tmp_path, "tracing", tracing), twice)
    again = pa.table({"image_id": ["img001", "img001"], "loss": [0.25, 4.0]})
    with pytest.raises(OptionError, match="one row an image"):
        luab_data.difficulty(folder, again)
