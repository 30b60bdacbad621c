from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from luab_data.figures import (
    FIGURES,
    coco_image_figure,
    drawable,
    drawing,
    image_figure,
    new_figure,
    page_figure,
    png,
    svg,
)
from luab_data.figures.annotators import draw_shrinkage, draw_worker_offsets
from luab_data.figures.bars import draw_bars
from luab_data.figures.curves import draw_curve, draw_last_n, draw_quantiles, draw_random_clicks
from luab_data.figures.icons import draw_class_recall, draw_sequences, outliers, short_sequence
from luab_data.figures.labels import label_points
from luab_data.figures.maps import draw_accuracy_map, draw_density, draw_offset, mode_cell
from luab_data.figures.page import draw_page, empty_slots, mouse_path
from luab_data.figures.pictures import draw_coco_image, draw_image
from luab_data.figures.style import SMALL, STYLE, VERMILION, YELLOW, counts
from luab_data.reports.replay import Picture, imagenet_replay
from luab_data.statistics.coco.measures import COCO_MEASURES
from luab_data.statistics.estimate import Estimate
from luab_data.statistics.imagenet.measures import IMAGENET_MEASURES
from luab_data.words import short_count

MEASURES = {
    "imagenet-ab": {m.name: m for m in IMAGENET_MEASURES},
    "coco-ab": {m.name: m for m in COCO_MEASURES},
}


def an_estimate(
    value: Any, low: Any = np.nan, high: Any = np.nan, n: Any = 1.0, null: Any = np.nan
) -> Estimate:
    value = np.asarray(value, dtype=np.float64)
    rest = (np.array(np.broadcast_to(v, value.shape), np.float64) for v in (low, high, n, null))
    low, high, n, null = rest
    return Estimate(value=value, low=low, high=high, n=n, null=null, num_workers=3)


def estimates_like(dataset: str, kind: str = "full") -> dict[str, Estimate]:
    """An estimate of the right shape for every measure of a dataset."""
    rng = np.random.default_rng(0)
    found = {}
    for name, measure in MEASURES[dataset].items():
        value = rng.uniform(0.2, 0.8, measure.shape)
        if measure.shape[:1] in ((11,), (21,)) and len(measure.shape) == 2:
            value = np.where(rng.uniform(size=measure.shape) < 0.2, np.nan, value)
        n = np.round(rng.uniform(5, 2000, measure.shape))
        if kind == "empty":
            found[name] = an_estimate(np.full(measure.shape, np.nan), n=0)
        elif kind == "one worker":
            found[name] = an_estimate(value, n=n)
        else:
            found[name] = an_estimate(value, value - 0.1, value + 0.1, n, value / 2)
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
SEQUENCES = pa.table({"sequence": ["add", "add-move", "add-add"], "count": [90, 9, 1]})
TABLES = {"workers": WORKERS, "sequences": SEQUENCES}
EMPTY_TABLES = {name: table.slice(0, 0) for name, table in TABLES.items()}


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


@pytest.mark.parametrize("key", FIGURES)
def test_what_a_figure_needs_is_measured(key: str):
    planned = FIGURES[key]
    assert {*planned.needs} <= {*MEASURES[planned.dataset]}
    assert {*planned.tables} <= {*TABLES}
    assert planned.needs or planned.tables


@pytest.mark.parametrize("key", FIGURES)
def test_words_are_legible_and_inside_the_figure_and_settings_stay(key: str):
    planned = FIGURES[key]
    before = dict(matplotlib.rcParams)
    figure = rendered(planned.draw(estimates_like(planned.dataset), TABLES))
    assert dict(matplotlib.rcParams) == before
    assert figure.get_figwidth() == pytest.approx(3.35)
    inside = figure.bbox.padded(1)
    for text in texts(figure):
        assert text.get_fontsize() >= SMALL, text
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, text


_DRAWN_ONCE = {planned.draw: key for key, planned in FIGURES.items()}.values()


@pytest.mark.parametrize("kind", ["one worker", "empty"])
@pytest.mark.parametrize("key", _DRAWN_ONCE)
def test_a_figure_draws_without_intervals_and_without_anything(key: str, kind: str):
    planned = FIGURES[key]
    tables: Mapping[str, pa.Table] = EMPTY_TABLES if kind == "empty" else TABLES
    planned.draw(estimates_like(planned.dataset, kind), tables).draw_without_rendering()


def test_ticks_keep_their_size_when_saved_outside_the_style():
    figure = rendered(FIGURES["last_n"].draw(estimates_like("imagenet-ab"), {}))
    sizes = {t.get_fontsize() for t in figure.axes[0].get_xticklabels()}
    assert sizes == {STYLE["xtick.labelsize"]}


def test_only_figures_with_something_to_show_are_drawable():
    everything = [key for key, f in FIGURES.items() if f.dataset == "imagenet-ab"]
    estimates = estimates_like("imagenet-ab")
    assert [*drawable("imagenet-ab", estimates, TABLES)] == everything
    assert "annotators" not in drawable("imagenet-ab", estimates, {})
    assert "annotators" not in drawable("imagenet-ab", estimates, EMPTY_TABLES)
    del estimates["last_n_accuracy"]
    assert "last_n" not in drawable("imagenet-ab", estimates, TABLES)
    assert not drawable("coco-ab", estimates_like("coco-ab", "empty"), EMPTY_TABLES)


def test_drawing_never_loads_pyplot_and_importing_loads_no_matplotlib():
    code = (
        "import sys, luab_data.figures as f; assert 'matplotlib' not in sys.modules\n"
        "figure, axes = f.new_figure(); f.png(figure)\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_same_figure_gives_the_same_bytes():
    planned, estimates = FIGURES["sides"], estimates_like("imagenet-ab")
    once, again = (png(planned.draw(estimates, {})) for _ in range(2))
    assert once == again and once.startswith(b"\x89PNG")
    drawing = svg(planned.draw(estimates, {}))
    assert drawing == svg(planned.draw(estimates, {}))
    assert "<svg" in drawing and "date" not in drawing


def test_both_packages_share_one_style():
    from luab_train.report import figures

    assert figures.STYLE is STYLE


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


def test_one_worker_gives_no_band_and_no_null_gives_no_line(ax: Axes):
    draw_curve(ax, [1, 2], an_estimate([0.5, 0.6]))
    assert not ax.collections
    assert len(ax.lines) == 1


def test_last_n_writes_the_sample_size_of_each_point(ax: Axes):
    draw_last_n(ax, an_estimate([0.8, 0.7, 0.6], n=[1500, 900, 12]))
    assert [t.get_text() for t in ax.texts] == ["1.5k", "900", "12", "n "]
    assert list(ax.get_xticks()) == [0, 1, 2]


def test_the_random_click_curve_runs_from_0_to_1_beside_two_named_levels(ax: Axes):
    curve = an_estimate(np.linspace(0.8, 0.5, 21))
    click, centre = (an_estimate(v, v - 0.01, v + 0.01) for v in (0.805, 0.81))
    draw_random_clicks(ax, curve, click, centre)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), np.linspace(0, 1, 21))
    # The lines lie close, so the higher one is named above and the lower one below.
    upper, lower = ax.texts
    assert (upper.get_text(), upper.get_va()) == ("centre 81.0 %", "bottom")
    assert (lower.get_text(), lower.get_va()) == ("workers 80.5 %", "top")


def test_quantiles_run_from_entry_to_click(ax: Axes):
    draw_quantiles(ax, an_estimate(np.linspace(0, 1, 11)), an_estimate(np.linspace(0, 1, 11)))
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
    draw_offset(ax, an_estimate(density), mean)
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
    draw_offset(ax, an_estimate(np.full((21, 21), 1 / 441)), mean)
    rendered(ax.figure)


# Icons


def test_repeated_pairs_of_a_sequence_are_folded():
    longest = "add-remove-add-move-" + "remove-add-" * 7 + "move-move-remove-add-remove-add"
    assert len(longest.split("-")) == 24  # metrics 4.11
    assert short_sequence(longest) == "add-remove-add-move-(remove-add)×7-move-move-(remove-add)×2"
    assert short_sequence("add-remove-" * 4 + "add") == "(add-remove)×4-add"
    for plain in ("add", "add-move", "add-remove-add", "add-move-move"):
        assert short_sequence(plain) == plain


def test_sequences_are_sorted_named_and_the_rest_added_up(ax: Axes):
    table = pa.table(
        {
            "sequence": ["add-move", "add", "add-add", "x", "y"],
            "count": [30, 940, 20, 6, 4],
            "low": [0.02, 0.9, 0.01, None, None],
            "high": [0.05, 0.97, 0.03, None, None],
            "is_valid": [True, True, False, None, True],
        }
    )
    draw_sequences(ax, table, top=3)
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["add", "add-move", "add-add", "2 others"]
    assert [bar.get_width() for bar in ax.patches] == [940, 30, 20, 10]
    assert to_hex(ax.patches[2].get_facecolor()) == VERMILION.lower()
    np.testing.assert_allclose(ax.collections[0].get_segments()[1], [[20, 1], [50, 1]])
    assert ax.texts[0].get_text() == "940 (94 %)"
    assert ax.get_xscale() == "log"


def test_class_recall_draws_the_line_and_names_who_is_far_off_it(ax: Axes):
    size = np.linspace(1, 8, 40)
    recall = 0.2 + 0.05 * size
    recall[[10, 30]] += (0.3, -0.3)
    recall[5] = 1.0  # of three images only: far off by chance
    n = np.full(40, 200.0)
    n[5] = 3
    recall[7] = np.nan
    names = [f"class {k}" for k in range(40)]
    draw_class_recall(
        ax, an_estimate(recall, n=n), an_estimate(size), an_estimate(0.6, 0.5, 0.7),
        names=names, num_named=2,
    )  # fmt: skip
    assert {t.get_text() for t in ax.texts} == {"class 10", "class 30"}
    assert ax.get_title(loc="left") == "$r$ = 0.60 (0.50 to 0.70)"
    (x0, x1), (y0, y1) = ax.lines[0].get_data()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(5, abs=0.7)
    filled, hollow = ax.collections
    assert (len(filled.get_offsets()), len(hollow.get_offsets())) == (38, 1)


def test_outliers_are_counted_in_standard_errors():
    residual, n = np.array([30.0, -10.0, 1.0]), np.array([1.0, 100.0, 10.0])
    assert outliers(residual, n).tolist() == [1, 0, 2]


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


# One picture

ROW: dict[str, Any] = {
    "image_id": "n1_1", "width": 200, "height": 100, "boxes": [[20.0, 10.0, 120.0, 90.0]],
    "first_click_x": 0.1, "first_click_y": 0.2, "final_click_x": 0.5, "final_click_y": 0.5,
    "hull_x": [0.1, 0.5, 0.5], "hull_y": [0.2, 0.2, 0.5],
    "trace_quantile_x": [0.0, 0.5], "trace_quantile_y": [0.0, 0.5],
}  # fmt: skip
ROUND: dict[str, Any] = {
    "mouse_tracking_x": [0.0, 0.1, 0.9, 0.5], "mouse_tracking_y": [0.0, 0.2, 0.9, 0.5],
    "mouse_tracking_time_ms": [100, 120, 5000, 5020],
    "hovered_record_action": ["enter", "leave", "enter"],
    "hovered_record_time_ms": [95, 130, 4990],
}  # fmt: skip
NOTHING: dict[str, Any] = {key: None for key in {**ROW, **ROUND}}


def points_of(ax: Axes, label: str) -> list[list[float]]:
    found = [c for c in ax.collections if c.get_label() == label]
    return [] if not found else np.asarray(found[0].get_offsets()).tolist()


def test_an_image_is_drawn_in_pixels_of_the_original(ax: Axes):
    draw_image(ax, None, ROW, ROUND)
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 200), (100, 0))
    assert points_of(ax, "first click") == [[20, 20]]
    assert points_of(ax, "final click") == [[100, 50]]
    (box,) = (p for p in ax.patches if p.get_label() == "box")
    assert box.get_bbox().extents == pytest.approx((20, 10, 120, 90))


def test_visits_of_a_trace_are_not_joined_and_colour_is_time(ax: Axes):
    draw_image(ax, None, ROW, ROUND)
    (trace,) = (c for c in ax.collections if isinstance(c, LineCollection))
    np.testing.assert_allclose(trace.get_segments(), [[[0, 0], [20, 20]], [[180, 90], [100, 50]]])
    assert list(trace.get_array()) == [120, 5020]


def test_without_its_round_an_image_shows_the_quantiles_of_its_trace(ax: Axes):
    draw_image(ax, np.zeros((100, 200, 3), np.uint8), ROW)
    (trace,) = (c for c in ax.collections if isinstance(c, LineCollection))
    np.testing.assert_allclose(trace.get_segments(), [[[0, 0], [100, 50]]])
    assert ax.images[0].get_extent() == [0, 200, 100, 0]


def test_an_image_without_anything_is_a_blank_canvas():
    figure = rendered(image_figure(None, NOTHING, NOTHING))
    assert not [c for c in figure.axes[0].collections if len(c.get_offsets())]
    gray = rendered(image_figure(np.zeros((30, 20), np.uint8), NOTHING))
    assert gray.axes[0].get_xlim() == (0, 20)


COCO_ROW: dict[str, Any] = {
    "width": 100, "height": 50, "icon_label": [3, 7, 9], "icon_name": ["dog", "cup", "car"],
    "last_add_x": [0.1, 0.5, 0.9], "last_add_y": [0.2, 0.4, 0.6],
    "final_x": [0.3, None, 0.9], "final_y": [0.2, None, 0.6],
    "is_on_object": [True, None, False],
    "boxes": [[0, 0, 40, 20], [40, 10, 60, 30], [80, 20, 100, 40]], "box_label": [3, 7, 9],
}  # fmt: skip


def test_a_coco_image_shows_icons_moves_removals_and_misses(ax: Axes):
    draw_coco_image(ax, None, COCO_ROW)
    assert points_of(ax, "icon") == [[30, 10]]
    assert points_of(ax, "icon off its class") == [[90, 30]]
    assert points_of(ax, "removed") == [[50, 20]]
    hollow = next(c for c in ax.collections if c.get_label() == "removed")
    assert not len(hollow.get_facecolor())
    assert {t.get_text() for t in ax.texts} == {"", "dog", "cup", "car"}
    (arrow,) = (t for t in ax.texts if not t.get_text())
    assert (arrow.xyann, arrow.xy) == (pytest.approx((10, 10)), pytest.approx((30, 10)))
    frames = [p for p in ax.patches if to_hex(p.get_edgecolor()) == YELLOW.lower()]
    missed = [p for p in frames if p.get_label() == "box, class missed"]
    assert len(frames) == 3
    assert [p.get_bbox().extents.tolist() for p in missed] == [[40, 10, 60, 30]]


def test_the_actions_show_every_move(ax: Axes):
    actions = {
        "action_histories_action_type": ["add", "move", "move"],
        "action_histories_point_from_x": [None, 0.1, 0.2],
        "action_histories_point_from_y": [None, 0.2, 0.2],
        "action_histories_point_to_x": [0.1, 0.2, 0.3],
        "action_histories_point_to_y": [0.2, 0.2, 0.2],
    }
    draw_coco_image(ax, None, COCO_ROW, actions)
    arrows = [(*t.xyann, *t.xy) for t in ax.texts if not t.get_text()]
    np.testing.assert_allclose(arrows, [(10, 10, 20, 10), (20, 10, 30, 10)])


def test_a_coco_image_without_icons_or_columns_of_boxes_draws():
    empty = {key: [] for key in COCO_ROW if key not in ("width", "height", "boxes", "box_label")}
    rendered(coco_image_figure(None, {**empty, "width": None, "height": None}))


# A page


def a_round(slot: int | None, **other: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image_id": f"n1_{slot}", "image_idx": slot, "selected": False,
        "image_position_x": 100.0, "image_position_y": 200.0, "image_width": 50, "image_height": 20,
        "original_image_width": None, "original_image_height": None,
        "mouse_tracking_x": [], "mouse_tracking_y": [], "mouse_tracking_time_ms": [],
        "selected_record_x": [], "selected_record_y": [], "selected_record_time_ms": [],
        "hovered_record_action": [], "hovered_record_time_ms": [],
    }  # fmt: skip
    return {**row, **other}


def a_page(*rows: dict[str, Any]) -> pa.Table:
    floats, ints = pa.list_(pa.float64()), pa.list_(pa.int64())
    schema = pa.schema(
        [("image_id", pa.string()), ("image_idx", pa.int16()), ("selected", pa.bool_())]
        + [(f"image_position_{axis}", pa.float64()) for axis in "xy"]
        + [
            (f"{name}_{side}", pa.int32())
            for name in ("image", "original_image")
            for side in ("width", "height")
        ]
        + [
            (f"{name}_{part}", floats if part in "xy" else ints)
            for name in ("mouse_tracking", "selected_record")
            for part in ("x", "y", "time_ms")
        ]
        + [("hovered_record_action", pa.list_(pa.string())), ("hovered_record_time_ms", ints)]
    )
    return pa.Table.from_pylist([*rows], schema)


TWO_VISITS = a_page(
    a_round(
        5, image_position_x=300.0, selected=True, mouse_tracking_x=[0.5],
        mouse_tracking_y=[0.5], mouse_tracking_time_ms=[1030], selected_record_x=[0.2],
        selected_record_y=[0.5], selected_record_time_ms=[1035],
        hovered_record_action=["enter"], hovered_record_time_ms=[1028],
    ),
    a_round(
        2, mouse_tracking_x=[0.0, 1.0, 0.5], mouse_tracking_y=[0.0, 0.5, 1.0],
        mouse_tracking_time_ms=[1000, 1010, 1060],
        hovered_record_action=["enter", "leave", "enter"],
        hovered_record_time_ms=[1000, 1012, 1055],
    ),
    a_round(9, image_position_x=0.0, image_position_y=0.0, image_width=0, image_height=0,
            mouse_tracking_x=[0.5], mouse_tracking_y=[0.5], mouse_tracking_time_ms=[1]),
)  # fmt: skip


def test_a_page_brings_its_pictures_together_in_time(ax: Axes):
    replay = imagenet_replay(TWO_VISITS)
    assert [p.image_id for p in replay.pictures] == ["n1_2", "n1_5"]
    points, time, visit = mouse_path(replay.events)
    assert points.tolist() == [[100, 200], [150, 210], [325, 210], [125, 220]]
    assert time.tolist() == [0, 10, 30, 60]
    assert visit.tolist() == [0, 0, 1, 2]
    draw_page(ax, replay)
    assert points_of(ax, "enter") == [[100, 200], [325, 210], [125, 220]]
    assert points_of(ax, "click") == [[310, 210]]
    assert (*ax.get_xlim(), *ax.get_ylim()) == (95, 355, 225, 195)  # 100 to 350, 200 to 220


def test_a_visit_ends_where_its_own_picture_is_entered_again():
    hovered = {"hovered_record_action": ["enter"], "hovered_record_time_ms": [1005]}
    trace = {f"mouse_tracking_{part}": [0.5, 0.5] for part in "xy"}
    one = a_round(0, **trace, mouse_tracking_time_ms=[1000, 1010])
    brushed = a_round(1, **hovered)  # entered, but without a record: the visit goes on
    assert mouse_path(imagenet_replay(a_page(one, brushed)).events)[2].tolist() == [0, 0]
    again = {**one, **hovered}
    assert mouse_path(imagenet_replay(a_page(again)).events)[2].tolist() == [0, 1]


def test_the_page_is_drawn_with_dashes_between_pictures(ax: Axes):
    draw_page(ax, imagenet_replay(TWO_VISITS), {"n1_2": np.zeros((4, 10, 3), np.uint8)})
    (trace,) = (c for c in ax.collections if isinstance(c, LineCollection))
    np.testing.assert_allclose(trace.get_segments(), [[[100, 200], [150, 210]]])
    dashes = [line.get_xydata().tolist() for line in ax.lines if len(line.get_xdata())]
    assert dashes == [[[150, 210], [325, 210]], [[325, 210], [125, 220]]]
    assert points_of(ax, "click") == [[310, 210]]
    assert [t.get_text() for t in ax.texts] == ["2", "5"]  # slots, as logged
    assert ax.images[0].get_extent() == [100, 150, 220, 200]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_a_width_that_copies_the_height_is_drawn_with_the_files_shape(ax: Axes):
    # raw-formats.md: original 500 x 296, on the page 192 high; the log says 192 wide.
    page = a_page(
        a_round(
            0, image_width=192, image_height=192, original_image_width=500,
            original_image_height=296, mouse_tracking_x=[0.0, 1.0], mouse_tracking_y=[0.5, 0.5],
            mouse_tracking_time_ms=[1000, 1010],
        )
    )  # fmt: skip
    draw_page(ax, imagenet_replay(page), {"n1_0": np.zeros((4, 10, 3), np.uint8)})
    right = 100 + 192 * 500 / 296
    assert ax.images[0].get_extent() == pytest.approx([100, right, 392, 200])
    (frame,) = (p for p in ax.patches if isinstance(p, Rectangle))
    assert (frame.get_width(), frame.get_height()) == (pytest.approx(right - 100), 192)
    (trace,) = (c for c in ax.collections if isinstance(c, LineCollection))
    np.testing.assert_allclose(trace.get_segments(), [[[100, 296], [right, 296]]])


def test_a_page_of_which_nothing_is_known_draws():
    for page in (a_page(), a_page(a_round(None)), TWO_VISITS.slice(2)):
        rendered(page_figure(imagenet_replay(page)))
    pieces = pa.concat_tables([TWO_VISITS.slice(0, 1), TWO_VISITS.slice(1)])
    assert imagenet_replay(pieces) == imagenet_replay(TWO_VISITS)


def test_a_picture_without_a_slot_has_no_number_and_fills_no_grid(ax: Axes):
    replay = imagenet_replay(a_page(a_round(None)))
    assert [p.slot for p in replay.pictures] == [None]
    draw_page(ax, replay)
    assert not ax.texts
    rows = [a_round(k, image_position_x=60.0 * (k % 4), image_position_y=30.0 * (k // 4))
            for k in (0, 1, 2, 3, 9, 14, 20, 39, 47)]  # fmt: skip
    lost = a_round(None, image_position_x=7.0, image_position_y=7.0)
    with_it, without = (imagenet_replay(a_page(*r)).pictures for r in ([*rows, lost], rows))
    assert len(empty_slots(with_it)) == len(empty_slots(without)) == 39


def in_steps(page: list[dict[str, Any]]) -> list[tuple[float, float, int]]:
    """The mouse path as a person would write it down."""
    points = []
    for row in page:
        for x, y, t in zip(
            *(row[f"mouse_tracking_{p}"] for p in ("x", "y", "time_ms")), strict=True
        ):
            if row["image_width"] > 0 and row["image_height"] > 0:
                across = row["image_position_x"] + x * row["image_width"]
                points.append((across, row["image_position_y"] + y * row["image_height"], t))
    return sorted(points, key=lambda p: p[2])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_path_is_that_of_the_slow_reference(data: st.DataObject):
    times = iter(data.draw(st.permutations(range(1000, 1040))))
    rows = []
    for slot in data.draw(st.lists(st.integers(0, 47), unique=True, max_size=5)):
        n = data.draw(st.integers(0, 8))
        xy = [[data.draw(st.integers(0, 8)) / 8 for _ in range(n)] for _ in "xy"]
        rows.append(
            a_round(
                slot, image_position_x=340.0 * slot,
                image_width=data.draw(st.sampled_from([0, 64])),
                mouse_tracking_x=xy[0], mouse_tracking_y=xy[1],
                mouse_tracking_time_ms=[next(times) for _ in range(n)],
            )
        )  # fmt: skip
    points, time, _ = mouse_path(imagenet_replay(a_page(*rows)).events)
    expected = in_steps(rows)
    start = min((t for *_, t in expected), default=0)
    found = zip(*points.T.tolist(), (time + start).tolist(), strict=True)
    assert [*found] == expected


def pictures_at(slot: Any, frame: Any) -> list[Picture]:
    """Pictures of a page by their slots, (n,), and left, top, width, height, (n, 4)."""
    return [
        Picture(slot=int(k), x=x, y=y, w=w, h=h, image_id=f"n1_{k}")
        for k, (x, y, w, h) in zip(slot, np.asarray(frame, float).tolist(), strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.sets(st.integers(0, 47), min_size=1, max_size=30), st.randoms())
def test_slots_that_were_not_logged_are_where_they_would_be(
    num_columns: int, logged: set[int], rng: Any
):
    slot = np.array(sorted(logged))
    at = np.column_stack([80 + 340 * (slot % num_columns), 400.5 + 260 * (slot // num_columns)])
    size = np.array([[rng.randint(150, 340), rng.randint(150, 340)] for _ in slot])
    found = empty_slots(pictures_at(slot, np.column_stack([at, size])))
    if len(found):
        missing = np.setdiff1d(np.arange(48), slot)
        expected = [80 + 340 * (missing % num_columns), 400.5 + 260 * (missing // num_columns)]
        np.testing.assert_allclose(found[:, :2], np.column_stack(expected), atol=1e-6)
        assert (found[:, 2] <= 340).all() and (found[:, 3] <= 260).all()
    if {0, num_columns + 1, 2 * num_columns, 3 * num_columns + 1, 12, 17, 31} <= logged:
        assert len(found)


def test_a_clear_grid_is_filled_and_an_unclear_one_is_not():
    slot = np.array([0, 1, 2, 3, 9, 14, 20, 39, 47])
    frame = np.column_stack([80 + 340.0 * (slot % 4), 260.0 * (slot // 4), *np.full((2, 9), 200)])
    assert len(empty_slots(pictures_at(slot, frame))) == 39
    assert not len(empty_slots(pictures_at(slot[:3], frame[:3])))  # one row: any number of columns
    frame[4, 0] += 25  # the page was laid out anew while pictures came in: metrics 6.1-7
    assert not len(empty_slots(pictures_at(slot, frame)))
