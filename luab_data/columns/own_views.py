"""Every view of somebody's own browsing log as if it decided: its clicks count too.

`default` has one view an image, that which decides. Where several annotators saw an image, what is
told of their clicks is taken of all views instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.registry import OWN_BROWSING
from luab_data.ragged import one_array

OF_IMAGES = ("image_id", "label", "boxes", "width", "height")
"""What is read of `default`."""
_SIZES = {"width": "original_image_width", "height": "original_image_height"}


def of_rounds(names: Sequence[str]) -> tuple[str, ...]:
    """What is read of `rounds` for some columns."""
    found = [source.partition(".") for source in OWN_BROWSING.sources(_derived(names))]
    read = [name for where, _, name in found if where == "round"]
    return tuple(dict.fromkeys(["image_id", *_SIZES.values(), *read]))


def views_as_images(rounds: pa.Table, images: pa.Table, names: Sequence[str]) -> pa.Table:
    """Rows of `default`, one a view: what it would have if that view decided.

    Args:
        rounds: (num_views,) rows of `rounds` with of_rounds(names).
        images: rows of `default` with OF_IMAGES, of all images of the views.
        names: columns of `default` that follow from one view: derived ones, or of OF_IMAGES.
    Returns: (num_views,) with these columns.
    """
    row = pc.index_in(rounds["image_id"], value_set=one_array(images["image_id"]))
    image = images.take(row)
    given = {}
    for source in OWN_BROWSING.sources(_derived(names)):
        where, _, name = source.partition(".")
        if where == "raw" and name in _SIZES:  # the view's own, else the deciding one's
            known = pc.fill_null(pc.greater(rounds[_SIZES[name]], 0), False)
            given[source] = pc.if_else(known, pa.scalar(None, pa.int32()), image[name])
        else:
            given[source] = (image if where == "raw" else rounds)[name]
    columns = OWN_BROWSING.compute(_derived(names), given)
    return pa.table({name: columns[name] if name in columns else image[name] for name in names})


def _derived(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in ("image_id", "label", "boxes")]
