from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from calibration_world import biased, rows

from luab_data.calibration import calibrate
from luab_data.errors import DatasetError

MADE = ("calibrated_click_x", "calibrated_click_y", "click_reliability")


@pytest.fixture(scope="module")
def calibration() -> calibrate.Calibration:
    return calibrate.fit(biased(0, bias=(0.1, -0.05), spread=0.02, num_workers=5)[0])


def test_images_without_boxes_are_calibrated_by_their_worker(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5, 0.5], final_click_y=[0.5, 0.5], worker_id=["w001", "new"])
    found = calibrate.apply(calibration, images.drop_columns(["boxes", "width", "height"]))
    own = calibration.bias.value[calibration.worker_id.index("w001")]
    assert found["calibrated_click_x"].to_pylist() == pytest.approx(
        [0.5 - own[0], 0.5 - calibration.bias.crowd[0]]
    )
    assert found["calibrated_click_y"].to_pylist() == pytest.approx(
        [0.5 - own[1], 0.5 - calibration.bias.crowd[1]]
    )


def test_calibrated_points_are_null_where_there_is_no_click(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5, None], final_click_y=[0.5, None], worker_id=["w001", None])
    found = calibrate.apply(calibration, images)
    for name in MADE:
        assert found.schema.field(name).type == pa.float64()
        assert found[name].is_valid().to_pylist() == [True, False]
        assert not pc.any(pc.is_nan(found[name])).as_py()


def test_a_click_of_nobody_gets_the_shift_of_the_crowd(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5], final_click_y=[0.5], worker_id=[None])
    found = calibrate.apply(calibration, images)["calibrated_click_x"].to_pylist()
    assert found == pytest.approx([0.5 - calibration.bias.crowd[0]])


def test_an_empty_table_gets_empty_columns(calibration: calibrate.Calibration):
    found = calibrate.apply(calibration, rows(final_click_x=[]))
    assert len(found) == 0
    assert set(MADE) < set(found.column_names)


def test_other_columns_stay_and_applying_twice_is_applying_once(
    calibration: calibrate.Calibration,
):
    images, _ = biased(1, num_images=20)
    once = calibrate.apply(calibration, images)
    assert once.column_names == [*images.column_names, *MADE]
    assert calibrate.apply(calibration, once).equals(once)


def test_slices_chunks_and_dictionaries_are_calibrated_alike(calibration: calibrate.Calibration):
    images, _ = biased(2, num_images=50)
    whole = calibrate.apply(calibration, images).slice(10)
    parts = pa.concat_tables([images.slice(10, 7), images.slice(17)])
    place = parts.column_names.index("worker_id")
    coded = parts.set_column(place, "worker_id", parts["worker_id"].dictionary_encode())
    for name in MADE:
        assert calibrate.apply(calibration, coded)[name].equals(whole[name])


def test_the_order_of_rows_does_not_matter():
    images, _ = biased(3, spread=0.03, num_images=300)
    order = np.random.default_rng(0).permutation(len(images))
    one, other = calibrate.fit(images), calibrate.fit(images.take(pa.array(order)))
    assert one.worker_id == other.worker_id
    np.testing.assert_allclose(one.bias.value, other.bias.value)
    np.testing.assert_allclose(one.errors.worker, other.errors.worker, rtol=1e-4)


def test_nothing_can_be_learned_without_boxes():
    images = rows(final_click_x=[0.5], final_click_y=[0.5], width=[10], height=[10])
    for table in (images, images.slice(0, 0)):
        with pytest.raises(DatasetError, match="no click is on an image with boxes"):
            calibrate.fit(table)
        with pytest.raises(DatasetError, match="no click is on an image with boxes"):
            calibrate.evaluate(table)


def test_a_missing_column_is_named(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5], final_click_y=[0.5])
    with pytest.raises(DatasetError, match="no column 'hull_area'"):
        calibrate.apply(calibration, images.drop_columns(["hull_area"]))
    with pytest.raises(DatasetError, match="no column 'boxes'"):
        calibrate.fit(images.drop_columns(["boxes"]))
