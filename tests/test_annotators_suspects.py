from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotator_world import first, flags, judged, rows_of, world
from logs import KEY
from test_simulate_coco import some_instances

import luab_data
from luab_data.boxes import LabelledImage
from luab_data.kinds import BROWSING, KINDS
from luab_data.raw.worker_ids import WorkerHash
from luab_data.simulate.coco import simulate_coco
from luab_data.simulate.imagenet import simulate_imagenet
from luab_data.workers.annotators import Annotators, annotators
from luab_data.workers.pooling import THRESHOLD, Pooled, all_of, flagged, together

STYLE = {"careless": "careless", "centre_clicking": "centre_clicker", "hasty": "hasty"}


def trait(z: list[float], weight: float = 1.0) -> Pooled:
    values = np.array(z, float)
    ones = np.full(len(z), weight)
    parts = {"raw": values, "value": values, "low": values, "high": values}
    return Pooled(**parts, weight=ones, z=values, crowd=0.0, spread=1.0)


def test_no_single_sign_flags_anybody_and_two_strong_ones_do():
    nothing = [0.0] * 10
    traits = {
        "a": trait([99, 99, 3.4, 2.4, *nothing]),
        "b": trait([0, 99, 0, 2.4, *nothing]),
        "c": trait([0, 0, 0, 2.4, *nothing]),
    }
    score = together(traits, [{"a": 1}, {"b": 1}, {"c": 1}])
    np.testing.assert_allclose(score[:2], [3.5 / math.sqrt(3), 7 / math.sqrt(3)])
    assert flagged(score).tolist() == [False, True, False, True, *[False] * 10]


def test_who_follows_the_box_clicks_no_centre_however_unusual():
    (suspicion,) = (s for s in BROWSING.workers.suspicions if s.key == "centre_clicking_by_truth")
    follows = replace(trait([-9, -9, 0]), value=np.array([0.4, 0.6, 1.0]))
    traits = {"centre_distance": trait([-9, -9, 0]), "box_following": follows}
    assert flagged(suspicion.scores(traits)).tolist() == [True, False, False]


def test_two_measures_of_one_thing_count_once():
    traits = {"a": trait([9, 0, 0]), "b": trait([9, 0, 0]), "c": trait([0, 0, 0])}
    assert together(traits, [{"a": 1, "b": 1}, {"c": 1}])[0] == pytest.approx(3.5 / math.sqrt(2))


def test_families_that_go_together_in_the_crowd_count_for_less():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1, 2000).tolist()
    same = {"a": trait(z), "b": trait(z)}
    own = {"a": trait(z), "b": trait(rng.normal(0, 1, 2000).tolist())}
    for traits in (same, own):
        score = together(traits, [{"a": 1}, {"b": 1}])
        assert 1.4826 * np.median(np.abs(score)) == pytest.approx(1, abs=0.05)


def test_workers_with_few_rows_do_not_make_others_suspicious():
    """Most z are near 0; the scale is not taken from them."""
    z = np.concatenate([np.full(900, 0.01), np.random.default_rng(1).normal(0, 1, 100)]).tolist()
    score = together({"a": trait(z), "b": trait(z[::-1])}, [{"a": 1}, {"b": 1}])
    assert not flagged(score).any()


def test_what_is_not_known_is_left_out_or_cannot_be_judged():
    nan = math.nan
    traits = {"a": trait([nan, nan, 3.0]), "b": trait([3.0, 3, 3]), "c": trait([3.0, nan, 3])}
    families = [{"a": 1}, {"b": 1}, {"c": 1}]
    score = together(traits, families)
    assert np.isnan(score).tolist() == [False, True, False]
    assert np.isnan(all_of(traits, families)).tolist() == [True, True, False]
    assert flagged(np.array([nan, THRESHOLD, 3.4])).tolist() == [False, True, False]


def test_every_suspicion_has_its_own_key():
    for suspicions in (kind.workers.suspicions for kind in KINDS.values()):
        assert len({s.key for s in suspicions}) == len(suspicions)


def count(found: Annotators, styles: dict[str, str]) -> dict[str, tuple[int, int, int]]:
    """Suspicion -> right, flagged, of that style."""
    out = {}
    for key in found.scores:
        flag, style = flags(found, key), STYLE[key.split("_by_")[0]]
        right = sum(flag[w] and styles[w] == style for w in found.worker_id)
        of_style = sum(styles[w] == style for w in found.worker_id)
        out[key] = (right, sum(flag.values()), of_style)
    return out


@pytest.mark.parametrize("seed", range(3))
def test_planted_workers_are_found_among_people_who_differ(seed: int):
    """With boxes and without, among as many workers of four pictures each."""
    given = {"ordinary": 60, "centre_clicker": 4, "careless": 4}
    workers, styles = world(seed, given, num_tiny=60)
    for key, (right, num_flagged, of_style) in count(judged(workers), styles).items():
        assert right == of_style == 4, key
        assert num_flagged <= 5, key


def test_workers_are_sorted_by_how_unusual_they_are_either_way():
    found = judged(world(0, {"ordinary": 20, "careless": 2})[0])
    z = found.pooled["selected_rate"].z[replace(found, sort="selected_rate").order()]
    assert (np.diff(np.abs(z)) <= 0).all()
    assert (np.diff(z) > 0).any()


@pytest.mark.parametrize("alike", [False, True])
def test_where_nobody_is_bad_nearly_nobody_is_flagged(alike: bool):
    num = 0
    for seed in range(4):
        workers, styles = world(100 + seed, {"ordinary": 100}, num_tiny=100, alike=alike)
        num += sum(n for _, n, _ in count(judged(workers), styles).values())
    assert num <= 3  # of 3,200 flags; normal scores would give 0.7


def test_shuffled_workers_look_alike():
    """The same rows dealt to workers at random: no pooled number is surely not the crowd's."""
    given = {"ordinary": 40, "centre_clicker": 5, "careless": 5}
    workers, _ = world(7, given)
    hits, rounds, images = zip(*workers.values(), strict=True)
    rng = np.random.default_rng(7)
    size = [len(hit) for hit in hits]
    order = rng.permutation(sum(size))
    dealt: dict[str, Any] = {}
    stops = np.cumsum(size)
    columns = [{k: np.concatenate([c[k] for c in cs]) for k in cs[0]} for cs in (rounds, images)]
    for name, stop, num, hit in zip(workers, stops, size, hits, strict=True):
        own = order[stop - num : stop]
        dealt[name] = (hit, *({k: v[own] for k, v in c.items()} for c in columns))
    found = judged(dealt)
    assert not any(flagged(score).any() for score in found.scores.values())
    for name in ("centre_distance", "click_accuracy", "box_following", "selected_rate"):
        pooled = found.pooled[name]
        assert ((pooled.low <= pooled.crowd) & (pooled.crowd <= pooled.high)).mean() > 0.9, name


@pytest.mark.parametrize("seed", range(4))
def test_a_worker_with_three_clicks_tops_no_list(seed: int):
    """However strange the three are, be others strange or not."""
    rng = np.random.default_rng(seed)
    workers, _ = world(seed, {"ordinary": 40, "centre_clicker": 3, "careless": 3})
    hit, rounds, images = rows_of(rng, person_of("centre_clicker"), 1, 3)
    corner = np.array([0.999, 0.998, 1.0])
    for rows in (rounds, images):
        rows["x"], rows["y"] = corner, corner[::-1].copy()
    rounds |= {"selected": np.ones(3), "enters": np.array([9.0, 9, 9])}
    rounds |= {"approach_ms": np.array([3.0, 4, 3]), "estimate_ms": np.array([2.0, 1, 2])}
    images |= {"right": np.zeros(3), "right_off_centre": np.zeros(3), "dwell_ms": np.ones(3)}
    images |= {"offset_x": np.ones(3), "offset_y": np.ones(3), "gap": np.array([0.01, 0, 0])}
    workers["three"] = (hit, rounds, images)
    found = judged(workers)
    place = found.worker_id.index("three")
    lists = [name for name in (*found.pooled, *found.scores)]
    for name in lists:
        assert first(found, name) != place, name
    assert first(found, None) != place
    for name, pooled in found.pooled.items():
        if not np.isnan(pooled.value[place]):
            assert pooled.weight[place] == 0, name
            assert np.nanargmax(pooled.value) != place, name
            assert np.nanargmin(pooled.value) != place, name


def person_of(style: str) -> dict[str, float]:
    from annotator_world import ORDINARY, STYLES

    return {**ORDINARY, **STYLES[style]}


@pytest.mark.parametrize("num", [4, 6])
def test_a_few_more_strange_clicks_do_not_either(num: int):
    """Observations beyond what 98 % of all rows are count as if they were there."""
    rng = np.random.default_rng(num)
    workers, _ = world(num, {"ordinary": 40, "centre_clicker": 3, "careless": 3})
    hit, rounds, images = rows_of(rng, person_of("ordinary"), 1, num)
    rounds |= {"approach_ms": np.full(num, 2.0), "estimate_ms": np.full(num, 1.0)}
    images |= {"dwell_ms": np.full(num, 1.0)}
    workers["few"] = (hit, rounds, images)
    found = judged(workers)
    place = found.worker_id.index("few")
    for name in ("approach_ms", "estimate_time_ms", "dwell_time_ms"):
        assert found.pooled[name].raw[place] in (1, 2)
        assert np.nanargmax(np.abs(found.pooled[name].z)) != place
        if num == 4:
            assert found.pooled[name].value[place] > 50 * found.pooled[name].raw[place]


def test_planted_numbers_are_inside_their_intervals():
    workers, styles = world(3, {"ordinary": 40, "centre_clicker": 5}, alike=True)
    found = judged(workers)
    for style in ("ordinary", "centre_clicker"):
        who = person_of(style)
        own = np.array([styles[w] == style for w in found.worker_id])
        for name, true in (("box_following", who["follows"]), ("selected_rate", who["selects"])):
            pooled = found.pooled[name]
            inside = (pooled.low <= true) & (true <= pooled.high)
            assert inside[own].mean() >= 0.8, (style, name)
    assert found.pooled["selected_rate"].crowd == pytest.approx(0.75, abs=0.01)


def test_drift_over_pages_is_found():
    """One worker gets faster by 10 % a page, all others keep their pace."""
    workers, _ = world(5, {"ordinary": 30})
    hit, rounds, images = workers["ordinary-007"]
    start = rounds["first_ms"] - rounds["first_ms"][0]
    page = rounds["page"] + 10 * hit
    begin = np.searchsorted(page, page)  # row where the page starts
    shrunk = np.exp(-0.1 * rounds["page"])
    length = rounds["last_ms"] - rounds["first_ms"]
    for name, more in (("first_ms", 0.0), ("last_ms", length)):
        rounds[name] = 1e6 * page + (start - start[begin] + more) * shrunk
    found = judged({**workers, "ordinary-007": (hit, rounds, images)})
    place = found.worker_id.index("ordinary-007")
    drift = found.pooled["time_drift"]
    assert drift.raw[place] == pytest.approx(-0.1, abs=0.02)
    assert drift.high[place] < 0  # pulled to 0, but surely below it
    assert first(found, "time_drift") == place
    assert abs(drift.crowd) < 0.02


def test_without_boxes_behaviour_is_judged_all_the_same():
    workers, styles = world(2, {"ordinary": 40, "centre_clicker": 3, "careless": 3})
    for _, _, images in workers.values():
        for name in ("right", "right_off_centre", "offset_x", "offset_y", "centre_x", "centre_y"):
            images[name] = np.full(len(images[name]), np.nan)
    found = judged(workers)
    counts = count(found, styles)
    assert counts["centre_clicking_by_behaviour"] == counts["careless_by_behaviour"] == (3, 3, 3)
    assert counts["centre_clicking_by_truth"][1] == counts["careless_by_truth"][1] == 0
    assert found.to_table()["click_accuracy_pooled"].null_count == 46
    assert found.counts["num_evaluated"].tolist() == [0] * 46


def test_workers_by_touch_are_not_taken_for_careless_ones():
    """They enter no picture, so nothing is known of where they looked."""
    workers, _ = world(4, {"ordinary": 40})
    rounds = workers["ordinary-000"][1]
    rounds["enters"] = np.zeros(len(rounds["enters"]))
    for name in ("approach_ms", "estimate_ms"):
        rounds[name] = np.full(len(rounds[name]), np.nan)
    found = judged(workers)
    assert np.isnan(found.pooled["hover_rate"].raw[0])
    assert not flags(found, "careless_by_behaviour")["ordinary-000"]
    assert found.scores["careless_by_behaviour"][0] < 2


def drawn_images(seed: int, num: int) -> list[LabelledImage]:
    rng = np.random.default_rng(seed)
    images = []
    for i in range(num):
        size = np.clip(rng.beta(2.2, 2.0, 2), 0.08, 1)
        low = np.clip(0.5 + rng.normal(0, 0.13, 2), size / 2, 1 - size / 2) - size / 2
        box = [*(low * (500, 375)), *((low + size) * (500, 375))]
        wnid = f"n{i % 12:08d}"
        images.append(
            LabelledImage(
                image_id=f"{wnid}_{i}", wnid=wnid, width=500, height=375, boxes=np.array([box])
            )
        )
    return images


def styles_of(truth: Path) -> dict[str, str]:
    hashed = WorkerHash(KEY)
    found = {}
    for line in truth.read_text().splitlines():
        row = json.loads(line)
        for item in row.get("rounds", [row]):
            found[hashed(item["worker_id"])] = item["style"]
    return found


def simulated(folder: Path, seed: int, styles: dict[str, float]) -> tuple[Annotators, Any]:
    raw, truth = folder / "raw.tar.gz", folder / "truth.jsonl"
    simulate_imagenet(
        drawn_images(seed, 3000), raw, truth=truth, seed=seed, num_workers=14, styles=styles
    )
    luab_data.convert_imagenet(raw, folder / "out", worker_key=KEY)
    return annotators(folder / "out"), styles_of(truth)


def test_styles_of_the_simulator_are_found_from_raw_log_to_flag(tmp_path: Path):
    """Its ordinary workers differ in tempo only, so this is easier than a real log."""
    shares = {"accurate": 8.0, "biased": 1.0, "touch": 1.0, "centre_clicker": 2.0, "careless": 2.0}
    found, styles = simulated(tmp_path, 21, shares)
    assert found.worker_id == sorted(styles)
    for key, (right, num_flagged, of_style) in count(found, styles).items():
        assert of_style >= 1
        assert num_flagged == right, key  # precision
        assert right >= of_style - 1, key  # recall
    # The published config says the same of what both have.
    published = luab_data.read_table(tmp_path / "out", "annotators")
    table = found.to_table().sort_by("worker_id")
    for ours, theirs in (("num_rounds", "num_rounds"), ("click_accuracy", "click_accuracy")):
        np.testing.assert_allclose(
            table[ours].to_numpy().astype(float), published[theirs].to_numpy().astype(float)
        )


def test_a_crowd_of_one_style_has_no_suspects(tmp_path: Path):
    found, styles = simulated(tmp_path, 22, {"accurate": 1.0})
    assert sum(n for _, n, _ in count(found, styles).values()) == 0


def test_careless_coco_workers_are_found_with_masks_and_not_from_behaviour(tmp_path: Path):
    """Their time is nearly ordinary; that the icon is beside the object only a mask tells."""
    instances = some_instances(tmp_path / "instances.json", 700)
    shares = {"accurate": 6.0, "careless": 1.0}
    raw, truth = tmp_path / "raw.json", tmp_path / "truth.jsonl"
    simulate_coco(instances, raw, truth=truth, seed=5, num_workers=7, styles=shares)
    luab_data.convert_coco(raw, tmp_path / "out", instances=instances, worker_key=KEY)
    found = annotators(tmp_path / "out")
    counts = count(found, styles_of(truth))
    assert counts["careless_by_truth"] == (1, 1, 1)
    assert counts["careless_by_behaviour"][1] == 0
    assert counts["hasty_by_behaviour"][1] == counts["hasty_by_truth"][1] == 0
