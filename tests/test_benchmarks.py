"""The benchmarks measure what they say: memory of a whole tree, equal results, honest tables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from logs import action, block, coco_log, coco_record, xml

from luab_data.importers import importer
from luab_data.raw import imagenet
from luab_data.schema import IMAGENET_ROUNDS
from luab_data.views import CODE

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import agree  # noqa: E402
import baselines  # noqa: E402
import bench  # noqa: E402
import inputs  # noqa: E402
import measure  # noqa: E402
import narratives  # noqa: E402
import stages  # noqa: E402
import table  # noqa: E402

# --- measuring ------------------------------------------------------------------------------------

_ALLOCATE = "import time; block = bytearray({} * 2**20); time.sleep(1.2)"


def test_the_memory_of_children_counts():
    grandchild = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_ALLOCATE.format(90)!r}])"
    )
    found = measure.run([sys.executable, "-c", grandchild])
    assert found.tree_rss_mib > 90 + 5  # the waiting parent has some, too
    assert found.largest_process_mib > 90  # also pytest's own, which is large: see measure
    assert 1.2 < found.wall_s < 30 and found.cpu_s < found.wall_s + 5


def test_two_children_at_once_are_added_up():
    both = f"""
import subprocess, sys
words = [sys.executable, '-c', {_ALLOCATE.format(60)!r}]
for child in [subprocess.Popen(words) for _ in range(2)]:
    child.wait()
"""
    found = measure.run([sys.executable, "-c", both])
    assert found.tree_rss_mib > 120


def test_a_command_that_fails_says_what_it_wrote():
    with pytest.raises(measure.CommandFailed, match="exit code 3\nsorry"):
        measure.run([sys.executable, "-c", "print('sorry'); raise SystemExit(3)"])


def test_a_row_of_figures_has_all_of_them():
    row = measure.run([sys.executable, "-c", ""]).as_row()
    assert set(row) == {
        *("wall_s", "cpu_s", "tree_rss_mib", "tree_pss_mib"),
        *("largest_process_mib", "load", "sampler_s"),
    }
    assert measure.machine()["cores"] >= 1 and measure.versions()["pyarrow"][0].isdigit()


# --- baselines ------------------------------------------------------------------------------------


def test_the_baseline_reads_every_raw_field_as_we_do():
    trace = [(1640000000100, 0.1, 1.003), (1640000000117, 1e-3, 0.5)]
    blocks = [
        block(trace=trace, hovered=[("enter", 7), ("leave", 9)], clicks=[(5, 0.25, -0.01)]),
        block(selected=False, clicks=[], submit=1_640_000_001),
    ]
    body = xml(blocks=blocks, boxes=[(1, 2, 3, 4), (5, 6, 7.5, 8)])
    record = imagenet.parse("n00000001/n00000001_1.xml", body)
    rows = list(baselines.rows_of(body))
    assert len(rows) == 2
    for row, values in zip(rows, record.rounds, strict=True):
        assert row.pop("boxes") == record.image["boxes"]
        raw = {c.raw.replace("/", "_"): c.name for c in IMAGENET_ROUNDS.columns if c.raw}
        assert row == {tag: values[name] for tag, name in raw.items()}


def test_any_difference_is_named():
    rows = [{"a": 1, "b": [0.5]}, {"a": 2, "b": []}]
    assert agree.difference(rows, rows[::-1]) == ""
    assert "ours has 2 rows" in agree.difference(rows, rows[:1])
    assert "b is [0.5]" in agree.difference(rows, [{"a": 1, "b": [0.25]}, rows[1]])
    assert "['b', 'c']" in agree.difference(rows[:1], [{"a": 1, "c": 0}])


@pytest.mark.parametrize(
    ("theirs", "stops"),
    [
        ({"rows": 2, "trace_records": 9, "mean_x": 0.5 + 1e-9}, False),
        ({"rows": 3, "trace_records": 9, "mean_x": 0.5}, True),
        ({"rows": 2, "trace_records": 8, "mean_x": 0.5}, True),
        ({"rows": 2, "trace_records": 9, "mean_x": 0.51}, True),
        ({}, False),
    ],
)
def test_results_with_other_totals_stop_a_comparison(theirs: dict[str, Any], stops: bool):
    ours = {"rows": 2, "trace_records": 9, "mean_x": 0.5}
    if stops:
        with pytest.raises(bench.Disagreement):
            bench._check_totals(ours, theirs)
    else:
        bench._check_totals(ours, theirs)


# --- logs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("logs") / "log.tar.gz"
    inputs.simulate(200, out)
    return out


def test_a_log_is_made_once_and_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    generator = tools / inputs.GENERATORS["coco-ab"]
    code = "import sys; open(sys.argv[4], 'w').write('[{\"image_id\": 5}, {\"image_id\": 5}]')"
    generator.write_text(code)
    path = inputs.log_of("coco-ab", 2, tmp_path / "work", tools)
    ids = [record["image_id"] for record in json.loads(path.read_text())]
    assert len(set(ids)) == 2
    generator.write_text("raise SystemExit('boom')")
    assert inputs.log_of("coco-ab", 2, tmp_path / "work", tools) == path  # as it is there
    with pytest.raises(inputs.NoInput, match="boom"):
        inputs.log_of("coco-ab", 3, tmp_path / "work", tools)
    assert list((tmp_path / "work").glob("coco-ab-3*")) == []
    with pytest.raises(inputs.NoInput, match="--coco"):
        inputs.log_of("coco-ab", 3, tmp_path / "work", None)


def test_the_head_of_a_log_is_a_log(tmp_path: Path, simulated: Path):
    inputs.head("imagenet-ab", simulated, 7, tmp_path / "h.tar.gz")
    from logs import members

    from luab_data.raw.source import Source

    names = [m.name for path in (tmp_path / "h.tar.gz", simulated) for m in members(Source(path))]
    assert names[:7] == names[7:14]
    log = coco_log(tmp_path / "c.json", [coco_record(k, []) for k in range(5)])
    inputs.head("coco-ab", log, 2, tmp_path / "h.json")
    assert [r["image_id"] for r in json.loads((tmp_path / "h.json").read_text())] == [0, 1]


# --- where the time goes --------------------------------------------------------------------------


def test_the_profile_gives_the_time_to_the_functions_that_took_it(tmp_path: Path, simulated: Path):
    text = stages.profile("imagenet-ab", simulated, tmp_path / "out")
    assert "convert.py:" in text and "MainThread" in text
    first = text.splitlines()[0]
    wall, cpu = (float(first.split(word)[1].split()[0]) for word in ("wall", "process"))
    assert 0 < wall < 60 and 0 < cpu


def test_a_busy_thread_is_told_from_a_waiting_one():
    import threading
    import time

    ended = threading.Event()

    def busy() -> None:
        while not ended.is_set():
            sum(range(1000))

    threads = [
        threading.Thread(target=busy, name="busy_0"),
        threading.Thread(target=ended.wait, name="waiting"),
    ]
    sampler = stages.Sampler()
    sampler.start()
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    ended.set()
    sampler.stop()
    for thread in threads:
        thread.join()
    assert sampler.cpu_s["busy"] > 10 * sampler.cpu_s["waiting"] > -1
    busiest = max((s, f) for (t, f), s in sampler.own.items() if t == "busy")
    assert busiest[1].endswith("test_benchmarks.py:busy")
    text = stages.report(sampler, wall_s=0.5, cpu_s=0.5, children_s=0)
    assert "busy: own time" in text and "waiting: own" not in text


# --- the table ------------------------------------------------------------------------------------


def run(wall: float, rss: float = 100.0) -> dict[str, float]:
    return {
        **{"wall_s": wall, "cpu_s": wall, "tree_rss_mib": rss, "tree_pss_mib": rss / 2},
        **{"largest_process_mib": rss, "load": 0.5, "sampler_s": 0.01},
    }


def row(comparison: str, pairs: list[dict[str, Any]], records: int = 60_000, **other: Any) -> Any:
    return {
        "comparison": comparison,
        **{"date": "2026-11-22T00:00:00+00:00", "commit": "abc"},
        "machine": {"cpu": "C", "cores": 2, "memory_gib": 24, "system": "Linux"},
        "versions": {"python": "3.11"},
        "input": {"name": "f", "bytes": 1000, "sha256": "0" * 64, "records": records},
        "arms": {a: {"name": a, "records": records} for a in pairs[0]},
        "out_bytes": {"ours": {"default": 300, "rounds": 100}},
        "pairs": pairs,
        **other,
    }


def verdict_of(rows: list[Any], what: str) -> tuple[str, str]:
    (found,) = [(text, v) for t, _, text, v in table.verdicts(rows) if t.what.startswith(what)]
    return found


@pytest.mark.parametrize(
    ("walls", "verdict"),
    [([12, 10, 11], "aim met"), ([7, 99, 6], "met"), ([3, 2, 90], "**missed by 50%**")],
)
def test_the_median_of_the_pairs_decides(walls: list[float], verdict: str):
    pairs = [{"baseline": run(wall), "ours": run(1.0)} for wall in walls]
    text, found = verdict_of([row("imagenet-ab/hf", pairs)], "wall: HF")
    assert found == verdict
    low, middle, high = sorted(walls)
    assert text == f"{middle:.2f} ({low:.2f}-{high:.2f}), n = 3"


def test_ratios_are_taken_pair_by_pair():
    pairs = [{"baseline": run(10), "ours": run(1)}, {"baseline": run(30), "ours": run(10)}]
    assert table.ratios(row("imagenet-ab/hf", pairs)) == [10, 3]


def test_memory_is_judged_by_the_worst_run():
    pairs = [{"baseline": run(9), "ours": run(1, rss)} for rss in (300, 700, 310)]
    assert verdict_of([row("imagenet-ab/hf", pairs)], "peak")[1] == "**missed by 17%**"
    assert verdict_of([row("coco-ab/json", pairs[::2])], "peak")[1] == "met"


def test_size_and_scaling():
    pair = {"start": run(1), "smaller": run(3, 200), "ours": run(11, 230)}
    found = row("imagenet-ab/scaling", [pair], 50_000, smaller={"records": 10_000})
    text, verdict = verdict_of([found], "cost per record")
    assert (text, verdict) == ("1.00 (1.00-1.00), n = 1; start-up included 0.73 (0.73-0.73)", "met")
    assert verdict_of([found], "peak memory: this")[1] == "**missed by 5%**"
    assert verdict_of([found], "image-level") == ("0.300 (all tables 0.400)", "met")


def test_the_latest_row_counts_and_misses_are_named():
    rows = [
        row("imagenet-ab/hf", [{"baseline": run(wall), "ours": run(1)}], records)
        for records, wall in ((60_000, 3), (400_000, 7), (60_000, 4))
    ]
    text = table.results_text(rows, ["profile-x.txt"])
    assert "4.00 (4.00-4.00)" in text and "3.00 (3.00-3.00)" not in text
    misses = text.split("### Misses")[1].split("### Runs")[0]
    assert "imagenet-ab 60,000" in misses and "missed by 33%" in misses
    assert "400,000" not in misses and "(results/profile-x.txt)" in misses


def test_the_readme_holds_the_latest_results():
    profiles = [path.name for path in table.RESULTS.parent.glob("profile-*.txt")]
    expected = table.results_text(table.read_rows(table.RESULTS), profiles)
    text = table.README.read_text()
    assert table.with_results(text, expected) == text, "run `python benchmarks/table.py`"
    assert all(f"`{name}`" in text for name in bench.COMPARISONS)


def test_statistics_are_judged_by_their_slowest_and_largest_run():
    found = {
        "dataset": "imagenet-ab", "rows": {"default": 1_300_000},
        "date": "2026-11-24T00:00:00+00:00", "commit": "abc",
        "machine": {"cpu": "C", "cores": 2}, "runs": [run(100, 900), run(170, 800)],
    }  # fmt: skip
    assert "| met |" in table.analysis_text([found])
    assert "135.00 (100.00-170.00) | " in table.analysis_text([found])
    for slow in ({"runs": [run(181, 10)]}, {"runs": [run(1, 2001)]}):
        assert "**missed**" in table.analysis_text([found, {**found, **slow}])


def test_the_readme_holds_the_latest_statistics():
    expected = table.analysis_text(table.read_rows(table.ANALYSIS_RESULTS))
    text = table.README.read_text()
    assert table.with_results(text, expected, part="analysis") == text


def test_a_generated_narrative_is_one(tmp_path):
    path = narratives.generated(tmp_path / "a_localized_narratives.jsonl", 20)
    (found,) = importer("localized-narratives").read([path], Counter(), lambda _: None)
    assert (len(found.table), found.errors) == (20, [])
    moves = [row["event"].count(CODE["move"]) for row in found.table.to_pylist()]
    assert abs(sum(moves) / 20 - narratives.POINTS) < narratives.POINTS / 4
    assert all(row["event"].count(CODE["say"]) for row in found.table.to_pylist())


def test_narratives_are_judged_by_what_all_of_them_would_take():
    found = {
        "lines": {"small": 1000, "large": 11000}, "points": 500.0,
        "small": [run(1, 100)], "large": [run(4, 400)],
        "date": "2026-12-01T00:00:00+00:00", "commit": "abc",
        "machine": {"cpu": "C", "cores": 2},
    }  # fmt: skip
    text = narratives.narratives_text([found])
    assert "| 0.300 | " in text and "| 262 s (" in text and "| met |" in text
    for more in ({"large": [run(5, 400)]}, {"large": [run(4, 501)]}):
        assert "**missed**" in narratives.narratives_text([{**found, **more}])
    busy = {**found, "large": [run(50, 400) | {"load": 6.0}]}
    assert "| time not judged, busy; memory met |" in narratives.narratives_text([busy])


def test_the_readme_holds_the_latest_narratives():
    expected = narratives.narratives_text(table.read_rows(narratives.RESULTS))
    text = table.README.read_text()
    assert table.with_results(text, expected, part="narratives") == text


def test_the_readme_holds_the_latest_evaluations():
    rows = (table.read_rows(path) for path in (table.SUITE_RESULTS, table.WSOL_RESULTS))
    text = table.README.read_text()
    assert table.with_results(text, table.evaluation_text(*rows), part="evaluation") == text


def test_box_evaluation_is_judged_against_both_modes_of_the_reference():
    common = {
        "date": "2026-11-24T00:00:00+00:00", "commit": "abc", "machine": {"cpu": "C", "cores": 2},
        "map": "7x7", "thresholds": 10, "maps": 3, "disagreements": 0,
    }  # fmt: skip
    rows = [
        {**common, "ratio": [4, 4, 9], "ratio_max_box_acc": [2, 2, 2]},
        {**common, "map": "14x14", "ratio": [21, 20, 5], "ratio_max_box_acc": [9, 9, 9]},
    ]
    text = table.evaluation_text([], rows)
    assert "| 0 of 60 | 4.0 (4.0-9.0) | 2.0 (2.0-2.0) | 5x, 20x | **missed by 20%** |" in text
    assert "| aim met |" in text


@pytest.mark.slow
def test_statistics_are_measured_on_a_folder(tmp_path: Path):
    import simulated as worlds

    folder = worlds.coco_ab(tmp_path, num_images=30)
    words = [sys.executable, str(FOLDER / "analyse.py"), str(folder), "--runs", "1"]
    done = subprocess.run(
        [*words, "--results", str(tmp_path / "r.jsonl")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = table.read_rows(tmp_path / "r.jsonl")
    assert found["rows"]["default"] == 30
    assert found["runs"][0]["wall_s"] > 0


# --- all of it ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_comparison_runs_on_few_records(tmp_path: Path, simulated: Path):
    larger = tmp_path / "larger.tar.gz"
    inputs.simulate(260, larger)
    steps = [action("add", "dog", (0.5, 0.5), 5), action("remove", "dog", None, 9)]
    log = coco_log(tmp_path / "c.json", [coco_record(k, steps) for k in range(210)])
    before = table.README.read_text()
    words = [sys.executable, str(FOLDER / "convert.py"), "--pairs", "1", "--profile"]
    words += ["--imagenet", str(simulated), "--imagenet", str(larger), "--coco", str(log)]
    words += ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "res" / "r.jsonl")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table.read_rows(tmp_path / "res" / "r.jsonl")
    assert sorted({r["comparison"] for r in rows}) == sorted(bench.COMPARISONS)
    assert len(rows) == 8
    for found in rows:
        assert found["input"]["records"] in (200, 210, 260)
        if "limit" not in found["comparison"] and "scaling" not in found["comparison"]:
            assert found["agreement"]["rows"] >= 200 and found["agreement"]["columns"] >= 22
    assert len(list((tmp_path / "res").glob("profile-*.txt"))) == 3
    assert "### Targets" in done.stdout
    assert table.README.read_text() == before
    assert list((tmp_path / "work" / "run").iterdir()) == []


@pytest.mark.slow
def test_a_baseline_that_reads_something_else_stops_the_run(tmp_path: Path, simulated: Path):
    runner = bench.Bench(tmp_path / "work", 1)
    log = bench.Log(dataset="imagenet-ab", path=simulated, described={})
    wrong = (FOLDER / "baselines.py").read_text().replace('findtext("y")', 'findtext("x")')
    script = tmp_path / "wrong.py"
    script.write_text(wrong)
    arm = bench.Arm(
        name="wrong",
        command=lambda log, out: [sys.executable, str(script), "reference", str(log), str(out)],
        writes="baseline",
    )
    with pytest.raises(bench.Disagreement, match=r"_y is"):
        runner.check_agreement(bench.our_arm("imagenet-ab"), arm, log)
