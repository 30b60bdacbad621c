from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from luab_data.figures import (
    BROWSING_FIGURES,
    TAGGING_FIGURES,
    PlannedFigure,
    drawing,
    new_figure,
    png,
    svg,
)
from luab_data.figures.charts import (
    draw_bars,
    draw_curve,
    draw_last_n,
    draw_quantiles,
    draw_random_clicks,
    draw_sequences,
    short_sequence,
)
from luab_data.figures.maps import draw_accuracy_map, draw_density, draw_offset, mode_cell
from luab_data.figures.scatter import (
    MANY,
    draw_class_recall,
    draw_shrinkage,
    draw_worker_offsets,
    label_points,
)
from luab_data.figures.style import SMALL, STYLE, VERMILION, counts
from luab_data.kinds import KINDS
from luab_data.statistics.estimate import Estimate, share
from luab_data.tools import COCO_CLASSES
from luab_data.words import short_count

MEASURES = {name: {m.name: m for m in kind.statistics.measures} for name, kind in KINDS.items()}
SEQUENCES = ("add", "add-move", "add-add")


def an_estimate(
    value: Any, low: Any = np.nan, high: Any = np.nan, n: Any = 1.0, null: Any = np.nan
) -> Estimate:
    value = np.asarray(value, dtype=np.float64)
    rest = (np.array(np.broadcast_to(v, value.shape), np.float64) for v in (low, high, n, null))
    low, high, n, null = rest
    return Estimate(value=value, low=low, high=high, n=n, null=null, num_workers=3)


def estimates_like(dataset: str, kind: str = "full") -> dict[str, Any]:
    """An estimate of the right shape for every measure of a dataset."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for name, measure in MEASURES[dataset].items():
        value = rng.uniform(0.2, 0.8, measure.shape)
        if measure.shape[:1] in ((11,), (21,)) and len(measure.shape) == 2:
            value = np.where(rng.uniform(size=measure.shape) < 0.2, np.nan, value)
        n = np.round(rng.uniform(5, 2000, measure.shape))
        n = np.full(measure.shape, 1234.0) if measure.finish is share else n
        (places,) = [labels for _, labels in measure.axes] if len(measure.axes) == 1 else [()]
        if kind == "empty":
            found[name] = an_estimate(np.full(measure.shape, np.nan), n=0)
        elif kind == "one worker":
            found[name] = an_estimate(value, n=n)
        else:
            found[name] = an_estimate(value, value - 0.1, value + 0.1, n, value / 2)
        found[name] = replace(found[name], labels=places)
    found["workers"] = WORKERS.slice(0, 0) if kind == "empty" else WORKERS
    if dataset == "coco-ab" and kind != "empty":
        shares = an_estimate([0.9, 0.09, 0.01], n=100)
        found["action_sequences"] = replace(shares, labels=SEQUENCES)
    return found


WORKERS = pa.table(
    {
        "worker_id": ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"],
        "raw": [0.5, None, 0.9],
        "shrunk": [0.7, None, 0.88],
        "n": [3, None, 400],
        "flag": [True, None, False],
        "offset_x": [0.3, None, -0.02],
        "offset_y": [-0.2, None, 0.01],
    }
)


@pytest.fixture
def ax() -> Iterator[Axes]:
    with drawing():
        yield new_figure()[1][0, 0]


def rendered(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def texts(figure: Figure) -> list[Text]:
    """All words on the figure; ticks outside the limits are not on it."""
    off = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    off |= {tick.label1, tick.label2}
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [t for t in shown if t not in off]


# The catalogue


PLANNED = [
    pytest.param(kind, planned, id=f"{kind}-{key}")
    for kind in KINDS
    for key, planned in KINDS[kind].figures.items()
]


@pytest.mark.parametrize(("kind", "planned"), PLANNED)
def test_what_a_figure_needs_is_measured(kind: str, planned: PlannedFigure):
    labelled = {m.name for m in KINDS[kind].statistics.labelled}
    assert {*planned.needs, *planned.uses} <= {*MEASURES[kind], *labelled, "workers"}
    assert planned.needs


@pytest.mark.parametrize(("kind", "planned"), PLANNED)
def test_words_are_legible_and_inside_the_figure_and_settings_stay(
    kind: str, planned: PlannedFigure
):
    before = dict(matplotlib.rcParams)
    figure = rendered(planned.draw(estimates_like(kind)))
    assert dict(matplotlib.rcParams) == before
    assert figure.get_figwidth() == pytest.approx(3.35)
    inside = figure.bbox.padded(1)
    for text in texts(figure):
        assert text.get_fontsize() >= SMALL, text
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, text


@pytest.mark.parametrize("state", ["one worker", "empty"])
@pytest.mark.parametrize(("kind", "planned"), PLANNED)
def test_a_figure_draws_without_intervals_and_without_anything(
    kind: str, planned: PlannedFigure, state: str
):
    estimates = estimates_like(kind, state)
    if {*planned.needs} <= {*estimates}:
        planned.draw(estimates).draw_without_rendering()


def test_ticks_keep_their_size_when_saved_outside_the_style():
    figure = rendered(BROWSING_FIGURES["last_n"].draw(estimates_like("imagenet-ab")))
    sizes = {t.get_fontsize() for t in figure.axes[0].get_xticklabels()}
    assert sizes == {STYLE["xtick.labelsize"]}


def test_only_figures_with_something_to_show_are_drawable():
    found = estimates_like("imagenet-ab")
    assert all(f.is_drawable(found) for f in BROWSING_FIGURES.values())
    del found["last_n_accuracy"], found["workers"]
    assert not any(BROWSING_FIGURES[key].is_drawable(found) for key in ("annotators", "last_n"))
    empty = estimates_like("coco-ab", "empty")
    assert not any(f.is_drawable(empty) for f in TAGGING_FIGURES.values())


def test_drawing_never_loads_pyplot_and_importing_loads_no_matplotlib():
    code = (
        "import sys, luab_data.figures as f; assert 'matplotlib' not in sys.modules\n"
        "figure, axes = f.new_figure(); f.png(figure)\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_same_figure_gives_the_same_bytes():
    planned, estimates = BROWSING_FIGURES["sides"], estimates_like("imagenet-ab")
    once, again = (png(planned.draw(estimates)) for _ in range(2))
    assert once == again and once.startswith(b"\x89PNG")
    drawing = svg(planned.draw(estimates))
    assert drawing == svg(planned.draw(estimates))
    assert "<svg" in drawing and "date" not in drawing


def test_both_packages_share_one_style():
    from luab_train.report import figures

    assert figures.drawing is drawing


# Numbers in words


@given(st.floats(0, 9e8))
def test_a_count_is_short_and_right_to_one_part_in_twenty(number: float):
    text = short_count(number)
    assert len(text) <= 5
    value = float(text.rstrip("kM")) * {"k": 1e3, "M": 1e6}.get(text[-1], 1)
    assert value == pytest.approx(number, rel=0.05, abs=0.5)


def test_counts_in_words():
    assert [short_count(n) for n in (0, 950, 999.7, 1240, 12_400, 999_600, 1_281_167)] == [
        *("0", "950", "1.0k", "1.2k", "12k", "1.0M", "1.3M"),
    ]
    assert counts(np.array([7.0, np.nan, 7.0])) == "n = 7"
    assert counts(np.array([7.0, 1240.0])) == "n = 7 to 1.2k"
    assert counts(np.array([np.nan])) == "n = 0"


# Curves and bars


def test_a_curve_is_its_values_its_band_and_its_null_in_percent(ax: Axes):
    curve = an_estimate([0.5, np.nan, 0.7], [0.4, np.nan, 0.6], [0.6, np.nan, 0.8], null=0.25)
    assert draw_curve(ax, [1, 2, 3], curve, label="a") is ax
    null, line = ax.lines
    assert list(line.get_xdata()) == [1, 2, 3]
    np.testing.assert_allclose(line.get_ydata(), [50, np.nan, 70])
    np.testing.assert_allclose(null.get_ydata(), 25)
    band = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    assert {(round(x), round(y)) for x, y in band} == {(1, 40), (1, 60), (3, 60), (3, 80)}
    draw_curve(ax, [1, 2], an_estimate([0.5, 0.6]))  # one worker has no band, no null no line
    assert (len(ax.lines), len(ax.collections)) == (3, 1)


def test_last_n_writes_the_sample_size_of_each_point(ax: Axes):
    estimate = an_estimate([0.8, 0.7, 0.6], n=[1500, 900, 12])
    draw_last_n(ax, {"last_n_accuracy": estimate})
    assert [t.get_text() for t in ax.texts] == ["1.5k", "900", "12", "n "]
    assert list(ax.get_xticks()) == [0, 1, 2]


def test_the_random_click_curve_runs_from_0_to_1_beside_two_named_levels(ax: Axes):
    curve = an_estimate(np.linspace(0.8, 0.5, 21))
    click, centre = (an_estimate(v, v - 0.01, v + 0.01) for v in (0.805, 0.81))
    found = {"random_click_curve": curve, "click_accuracy": click, "centre_accuracy": centre}
    draw_random_clicks(ax, found)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), np.linspace(0, 1, 21))
    # The lines lie close, so the higher one is named above and the lower one below.
    upper, lower = ax.texts
    assert (upper.get_text(), upper.get_va()) == ("centre 81.0 %", "bottom")
    assert (lower.get_text(), lower.get_va()) == ("workers 80.5 %", "top")


def test_quantiles_run_from_entry_to_click(ax: Axes):
    estimate = an_estimate(np.linspace(0, 1, 11))
    names = ("trace_quantile_accuracy", "time_quantile_accuracy")
    draw_quantiles(ax, dict.fromkeys(names, estimate))
    np.testing.assert_allclose(ax.lines[0].get_xdata(), np.linspace(0, 1, 11))
    assert ax.get_legend_handles_labels()[1] == ["by record", "by time"]


def test_bars_have_heights_intervals_and_nulls(ax: Axes):
    draw_bars(ax, ["a", "b"], an_estimate([0.4, np.nan], 0.3, 0.5, null=0.25))
    assert ax.patches[0].get_height() == pytest.approx(40)
    (interval,) = ax.collections[0].get_segments()  # none for the bar without a value
    np.testing.assert_allclose(interval, [[0, 30], [0, 50]])
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], 25)


# Maps


def test_a_map_has_row_0_on_top_and_masks_cells_without_a_value(ax: Axes):
    value = np.full((11, 11), 0.5)
    value[0, 10] = 0.9  # top right
    value[5, 5] = np.nan
    n = np.full((11, 11), 100.0)
    n[0, 10] = 3
    draw_accuracy_map(ax, an_estimate(value, n=n))
    image = ax.images[0]
    assert image.get_extent() == [0, 1, 1, 0]
    assert ax.get_ylim() == (1, 0)
    assert image.get_array()[0, 10] == pytest.approx(90)
    assert np.argwhere(np.ma.getmaskarray(image.get_array())).tolist() == [[5, 5]]
    assert any(isinstance(p, Rectangle) and p.get_hatch() for p in ax.patches)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[10.5 / 11, 0.5 / 11]])


def test_a_density_starts_at_white_and_names_its_central_cell(ax: Axes):
    value = np.zeros((11, 11))
    value[5, 5], value[0, 0] = 0.31, 0.69
    draw_density(ax, an_estimate(value))
    image = ax.images[0]
    assert image.get_clim() == (0, pytest.approx(69))
    assert min(image.cmap(image.norm(0))) > 0.95
    assert [t.get_text() for t in ax.texts] == ["31.0 %"]
    frame = ax.patches[-1]
    assert frame.get_xy() == pytest.approx((5 / 11, 5 / 11))


def test_a_top_right_bias_is_drawn_at_the_top_right(ax: Axes):
    density = np.zeros((21, 21))
    density[7, 14] = 1.0  # y in [-.35, -.25], x in [.35, .45]
    corner, size = mode_cell(density)
    assert (*corner, size) == pytest.approx((0.35, -0.35, 0.1))
    mean = an_estimate([0.4, -0.3], [0.35, -0.32], [0.45, -0.2])
    found = {"click_offset": mean, "click_offset_density": an_estimate(density)}
    draw_offset("click_offset")(ax, found)
    assert ax.get_ylim() == (1.05, -1.05)
    (cross,) = (line for line in ax.lines if line.get_label() == "mean")
    assert (*cross.get_xdata(), *cross.get_ydata()) == pytest.approx((0.4, -0.3))
    ends = [s for c in ax.collections for s in c.get_segments()]
    np.testing.assert_allclose(sorted(map(np.ravel, ends), key=lambda s: s[1]), [
        [0.4, -0.32, 0.4, -0.2], [0.35, -0.3, 0.45, -0.3]])  # fmt: skip
    box, mode = (p for p in ax.patches if p.get_label() in ("the box", "fullest cell"))
    assert box.get_bbox().extents == pytest.approx((-0.5, -0.5, 0.5, 0.5))
    assert mode.get_xy() == pytest.approx((0.35, -0.35))


def test_an_interval_that_misses_its_mean_is_still_drawn(ax: Axes):
    mean = an_estimate([0.4, -0.3], [0.41, -0.3], [0.45, -0.3])
    density = an_estimate(np.full((21, 21), 1 / 441))
    found = {"click_offset": mean, "click_offset_density": density}
    draw_offset("click_offset")(ax, found)
    rendered(ax.figure)


# Icons


def test_repeated_pairs_of_a_sequence_are_folded():
    longest = "add-remove-add-move-" + "remove-add-" * 7 + "move-move-remove-add-remove-add"
    assert len(longest.split("-")) == 24
    assert short_sequence(longest) == "add-remove-add-move-(remove-add)×7-move-move-(remove-add)×2"
    assert short_sequence("add-remove-" * 4 + "add") == "(add-remove)×4-add"
    for plain in ("add", "add-move", "add-remove-add", "add-move-move"):
        assert short_sequence(plain) == plain


def test_sequences_are_sorted_named_and_the_rest_added_up(
    ax: Axes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("luab_data.figures.charts.MOST_SEQUENCES", 3)
    none = np.nan
    shares = an_estimate(
        [0.03, 0.94, 0.02, 0.006, 0.004], [0.02, 0.9, 0.01, none, none],
        [0.05, 0.97, 0.03, none, none], n=1000,
    )  # fmt: skip
    names = ("add-move", "add", "add-add", "add-remove-add", "add-move-move")
    draw_sequences(ax, {"action_sequences": replace(shares, labels=names)})
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["add", "add-move", "add-add", "2 others"]
    assert [bar.get_width() for bar in ax.patches] == [940, 30, 20, 10]
    assert to_hex(ax.patches[2].get_facecolor()) == VERMILION.lower()
    np.testing.assert_allclose(ax.collections[0].get_segments()[1], [[20, 1], [50, 1]])
    assert ax.texts[0].get_text() == "940 (94 %)"
    assert ax.get_xscale() == "log"


def test_class_recall_draws_the_line_and_names_who_is_far_off_it(
    ax: Axes, monkeypatch: pytest.MonkeyPatch
):
    size = np.linspace(1, 8, 80)
    recall = 0.2 + 0.05 * size + 0.01 * np.cos(np.arange(80))
    recall[[10, 30]] += (0.3, -0.3)
    recall[5] = 1.0  # of three images only: far off by chance
    n = np.full(80, 200.0)
    n[5] = 3
    recall[7] = np.nan
    monkeypatch.setattr("luab_data.figures.scatter.NUM_NAMED", 2)
    found = {
        "class_recall": replace(an_estimate(recall, n=n), labels=COCO_CLASSES),
        "class_size": an_estimate(size),
        "recall_size_correlation": an_estimate(0.6, 0.5, 0.7),
    }  # fmt: skip
    draw_class_recall(ax, found)
    assert {t.get_text() for t in ax.texts} == {COCO_CLASSES[10], COCO_CLASSES[30]}
    assert ax.get_title(loc="left") == "$r$ = 0.60 (0.50 to 0.70)"
    (x0, x1), (y0, y1) = ax.lines[0].get_data()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(5, abs=0.7)
    filled, hollow = ax.collections
    assert (len(filled.get_offsets()), len(hollow.get_offsets())) == (78, 1)


def test_names_cover_neither_each_other_nor_the_points(ax: Axes):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0.3, 0.7, (2, 14))
    ax.scatter(x, y, s=4)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    drawn = label_points(ax, x, y, [f"baseball {k}" for k in range(14)])
    rendered(ax.figure)
    boxes = [Text.get_window_extent(t) for t in drawn]
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])
        assert box.count_contains(ax.transData.transform(np.column_stack([x, y]))) == 0
        assert ax.bbox.padded(1).fully_overlaps(box)


# Annotators


def test_shrinkage_joins_each_worker_to_the_diagonal_and_leaves_out_who_has_no_score(ax: Axes):
    draw_shrinkage(ax, WORKERS)
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    np.testing.assert_allclose(lines.get_segments(), [[[50, 50], [50, 70]], [[90, 90], [90, 88]]])
    dots = {c.get_label(): c for c in ax.collections if isinstance(c, PathCollection)}
    np.testing.assert_allclose(dots["suspect"].get_offsets(), [[50, 70]])
    np.testing.assert_allclose(dots["worker"].get_offsets(), [[90, 88]])
    assert dots["suspect"].get_sizes()[0] < dots["worker"].get_sizes()[0]
    assert [t.get_text() for t in ax.texts] == ["aaaaaa"]


def test_offsets_of_workers_are_drawn_y_down(ax: Axes):
    draw_worker_offsets(ax, WORKERS)
    bottom, top = ax.get_ylim()
    assert bottom > 0 > top
    dots = [c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose(np.concatenate(dots), [[-0.02, 0.01], [0.3, -0.2]])


def test_thousands_of_workers_are_a_cloud_of_which_suspects_stand_out():
    rng = np.random.default_rng(0)
    size = 5000
    raw = rng.beta(30, 3, size)
    flag = np.arange(size) % 500 == 0
    raw[flag] = rng.uniform(0.2, 0.5, flag.sum())
    table = pa.table(
        {
            "worker_id": [f"{k:010x}" for k in range(size)], "raw": raw,
            "shrunk": 0.9 * raw + 0.1 * raw.mean(), "n": rng.integers(1, 4000, size),
            "flag": flag, "offset_x": rng.normal(0.02, 0.05, size),
            "offset_y": rng.normal(0, 0.05, size),
        }
    )  # fmt: skip
    assert size > MANY
    figure = rendered(BROWSING_FIGURES["annotators"].draw({"workers": table}))
    for ax in figure.axes:
        lines = [c for c in ax.collections if isinstance(c, LineCollection)]
        assert sum(len(c.get_segments()) for c in lines) == 10  # of suspects only
        dots = {c.get_label(): c for c in ax.collections if isinstance(c, PathCollection)}
        assert dots["worker"].get_sizes().max() <= 12 and dots["worker"].get_alpha() < 0.5
        assert dots["suspect"].get_zorder() > dots["worker"].get_zorder()
        assert len(ax.texts) == 6
        labels = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(labels))
