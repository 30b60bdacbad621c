"""Some images in the order of the log, with their events: what one thread makes at a time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import RecordError
from luab_data.ragged import ArrowColumn, Bools, Ints, one_array
from luab_data.raw.bad_records import SeenIds
from luab_data.raw.private import Private, screened
from luab_data.raw.worker_ids import WorkerHash
from luab_data.store.digest import hashes_of


class TimesShown:
    """How often each image was shown so far, in 12 bytes an image: its hash and a count."""

    def __init__(self) -> None:
        self._hashes = np.zeros(0, np.uint64)  # ascending
        self._counts = np.zeros(0, np.int32)

    def count(self, ids: ArrowColumn) -> npt.NDArray[np.int32]:
        """(num_views,) the how-manieth view of its image each one is; they count from now on."""
        own, image, times = np.unique(
            hashes_of(one_array(ids)), return_inverse=True, return_counts=True
        )
        place = np.searchsorted(self._hashes, own)
        known = np.append(self._hashes, 0)[place] == own
        known &= place < len(self._hashes)
        before = np.where(known, np.append(self._counts, 0)[place], 0)
        order = np.argsort(image, kind="stable")
        numbers = np.empty(len(order), np.int32)
        first = np.repeat(np.cumsum(times) - times - before, times)
        numbers[order] = np.arange(len(order)) - first + 1
        self._counts[place[known]] += times[known].astype(np.int32)
        self._hashes = np.insert(self._hashes, place[~known], own[~known])
        self._counts = np.insert(self._counts, place[~known], times[~known])
        return numbers


class Batch(NamedTuple):
    """Some images in the order of the log. A place is a record's index in its part of the log."""

    images: pa.Table  # (num_images,) rows of `default`
    events: pa.Table  # (num_events,) rows of `rounds` or `actions`, in the order of the images
    bounds: Ints  # (num_images + 1,) image i has the events bounds[i]:bounds[i + 1]
    places: Ints  # (num_images,) ascending
    names: list[str]  # (num_images,) what errors call each record
    errors: list[tuple[int, RecordError]]  # by place, ascending
    unknown: list[str]  # elements or keys that the schema does not know
    repaired: Mapping[str, int]  # id of REPAIRS -> values read as they were meant
    private: Mapping[str, int] = MappingProxyType({})  # column -> values that tell who it was
    hashed: Mapping[str, int] = MappingProxyType({})  # likewise, those replaced

    def screened(self, hash_worker: WorkerHash, private: Private) -> Batch:
        """With its values counted that would tell who an annotator is, or hashed."""
        events = screened(self.events, hash_worker, private)
        # Texts of the images are those of their events: looked at again to replace them only.
        known = self.events.column_names if private == "keep" else ()
        images = screened(self.images, None if private == "keep" else hash_worker, private, known)
        return self._replace(
            images=images.table,
            events=events.table,
            private=images.kept | events.kept,
            hashed=images.hashed | events.hashed,
        )

    def slice(self, first: int, count: int) -> tuple[pa.Table, pa.Table]:
        """Some of the images, with their events."""
        start, end = self.bounds[[first, min(first + count, len(self.images))]].tolist()
        return self.images.slice(first, count), self.events.slice(start, end - start)

    def distinct(self, seen: SeenIds) -> Batch:
        """Without images that were there before, and with an id of its own for every other one."""
        own, is_new = own_ids(self.images, seen)
        batch = self.without(~is_new)
        images, events = with_ids(batch.images, batch.events, own)
        return batch._replace(images=images, events=events)

    def numbered(self, shown: TimesShown) -> Batch:
        """With `view` as the number of times that each image was shown until then."""
        views = pa.array(shown.count(self.images["image_id"]))
        place = self.images.column_names.index("view")
        images, events = (
            table.set_column(place, table.schema.field("view"), views)
            for table in (self.images, self.events)
        )
        return self._replace(images=images, events=events)

    def without(self, duplicate: Bools) -> Batch:
        """Without the flagged images (num_images,), which become errors."""
        if not duplicate.any():
            return self
        ids = self.images["image_id"].to_pylist()
        errors = [
            (int(self.places[i]), duplicate_error(self.names[i], ids[i]))
            for i in np.flatnonzero(duplicate).tolist()
        ]
        # What lies between duplicates is copied whole: a filter asks every element of every list.
        edges = np.flatnonzero(np.diff(duplicate, prepend=True, append=True)).reshape(-1, 2)
        pieces = [self.slice(first, end - first) for first, end in edges.tolist()]
        images, events = zip(*(pieces or [self.slice(0, 0)]), strict=True)
        return self._replace(
            images=pa.concat_tables(images).combine_chunks(),
            events=pa.concat_tables(events).combine_chunks(),
            bounds=np.concatenate([[0], np.cumsum(np.diff(self.bounds)[~duplicate])]),
            places=self.places[~duplicate],
            names=[name for name, twice in zip(self.names, duplicate, strict=True) if not twice],
            errors=sorted([*self.errors, *errors], key=lambda entry: entry[0]),
        )


def own_ids(images: pa.Table, seen: SeenIds) -> tuple[pa.Array, Bools]:
    """The ids of those images that were not there before, and (num_images,) which those are."""
    ids = images["image_id"].to_pylist()
    if "wnid" in images.column_names:
        own = [seen.own_id(i, c) for i, c in zip(ids, images["wnid"].to_pylist(), strict=True)]
    else:
        own = [seen.own_id(i) for i in ids]
    new = [i for i in own if i is not None]
    return pa.array(new, images["image_id"].type), np.array([i is not None for i in own], np.bool_)


def with_ids(images: pa.Table, events: pa.Table, ids: pa.Array) -> tuple[pa.Table, pa.Table]:
    """Both tables with the ids (num_images,) that own_ids gave to the images."""
    if one_array(images["image_id"]).equals(ids):
        return images, events
    # Until here an image is known by its class and its name.
    known, asked = (
        one_array(pc.binary_join_element_wise(t["wnid"], t["image_id"], "/"))
        for t in (images, events)
    )
    found = (ids, ids.take(pc.index_in(asked, value_set=known)))
    return tuple(
        t.set_column(t.column_names.index("image_id"), t.schema.field("image_id"), new)
        for t, new in zip((images, events), found, strict=True)
    )


def duplicate_error(where: str, image_id: object) -> RecordError:
    """A record of an image that had one before."""
    return RecordError(where, "duplicate", f"image {image_id} was there before; the first holds")
