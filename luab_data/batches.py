"""From a piece of a log to images with their columns: what one thread or process does at a time.

A batch holds some images in the order of the log, the rows of both configs, and what was wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns import coco as coco_columns
from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.registry import ACTIONS, ROUNDS, with_derived
from luab_data.columns.rounds import order_rounds
from luab_data.errors import RecordError
from luab_data.ragged import Bools, Ints, one_array
from luab_data.raw import coco_fast, imagenet_fast, tar
from luab_data.raw.bad_records import SeenIds
from luab_data.raw.worker_ids import WorkerHash
from luab_data.truth import Instances


def imagenet_batch(run: tar.Run, *, hash_worker: WorkerHash) -> Batch:
    """Parse a run and derive its columns."""
    read = imagenet_fast.read_run(run, hash_worker)
    errors, unknown = list(read.errors), read.unknown
    ids = one_array(read.batch.images["image_id"])
    is_new = np.ones(len(ids), np.bool_)
    if pc.count_distinct(ids).as_py() < len(ids):
        ids, is_new = own_ids(read.batch.images, SeenIds())
    places = read.places[is_new]
    if not is_new.all():
        # Blocks of two members with one image would be taken for rounds of one record.
        names = read.batch.images["image_id"].filter(pa.array(~is_new)).to_pylist()
        for place, name in zip(read.places[~is_new].tolist(), names, strict=True):
            errors.append((place, duplicate_error(run.names[place], name)))
        errors.sort(key=lambda entry: entry[0])
        read = imagenet_fast.read_run(run.only(places), hash_worker)
    images, blocks = with_ids(*read.batch, ids)
    rounds = order_rounds(images["image_id"], with_derived(blocks, ROUNDS))
    return Batch(
        images=imagenet_columns.image_table(images, rounds),
        events=rounds.table,
        bounds=rounds.bounds,
        places=places,
        names=[run.names[i] for i in places.tolist()],
        errors=errors,
        unknown=[path for _, path in unknown],
        repaired=Counter(repair for _, repair in read.repaired),
    )


def coco_batch(found: coco_fast.CocoBatch, *, truth: Instances | None) -> Batch:
    """Derive the columns of some records."""
    return Batch(
        images=coco_columns.image_table(found.table, truth),
        events=with_derived(found.table, ACTIONS),
        bounds=np.arange(len(found.table) + 1),
        places=found.places,
        names=[f"record {place}" for place in found.places.tolist()],
        errors=found.errors,
        unknown=[key for _, key in found.unknown],
        repaired=found.repaired,
    )


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

    def without(self, duplicate: Bools) -> Batch:
        """Without the flagged images (num_images,), which become errors."""
        if not duplicate.any():
            return self
        ids = self.images["image_id"].to_pylist()
        errors = [
            (int(self.places[i]), duplicate_error(self.names[i], ids[i]))
            for i in np.flatnonzero(duplicate).tolist()
        ]
        counts = np.diff(self.bounds)
        return self._replace(
            images=self.images.filter(pa.array(~duplicate)),
            events=self.events.filter(pa.array(np.repeat(~duplicate, counts))),
            bounds=np.concatenate([[0], np.cumsum(counts[~duplicate])]),
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
