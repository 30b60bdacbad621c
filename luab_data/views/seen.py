"""Views on their way into a dataset: checked, people hashed, classes and fidelity counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import RecordError
from luab_data.kinds import Kind
from luab_data.ragged import Ints, bounds_of, list_array, one_array, ragged
from luab_data.raw.bad_records import BadRecords
from luab_data.raw.coco import NO_WORKER
from luab_data.raw.worker_ids import WorkerHash
from luab_data.tools import Vocabulary
from luab_data.views import CODE, FromViews, Reading, count_fidelity
from luab_data.words import did_you_mean


class Seen:
    """What goes by: records are checked, people hashed, classes and fidelity counted.

    Args:
        from_views: of the kind.
        hash_worker: of ids of annotators.
        bad: the policy.
        classes: all there may be; None: those that go by.
    """

    def __init__(
        self,
        from_views: FromViews,
        hash_worker: WorkerHash,
        bad: BadRecords,
        classes: Vocabulary | None,
    ) -> None:
        self._from_views = from_views
        self.unknown = Counter[str]()
        self.fidelity = Counter[str]()
        self.layout = {"num_pages": 0, "num_slots": 0, "num_entered": 0, "num_moved": 0}
        self._hash, self._bad, self._classes = hash_worker, bad, classes
        self._offered: dict[str, None] = {}
        self._used: set[str] = set()

    def tables(self, readings: Iterable[Reading]) -> Iterator[pa.Table]:
        """Good views, with `worker_id` in the place of `annotator`."""
        for reading in readings:
            for error in reading.errors:
                self._bad(error)
            table = _normalised(reading.table)
            rows, names = self._from_views.class_names(table)
            is_good = np.ones(len(table), np.bool_)
            for row, name in self._wrong(rows, names):
                if is_good[row]:
                    self._bad(_no_class(reading.names[row], name, self._classes))
                is_good[row] = False
            if not is_good.all():
                table = table.filter(pa.array(is_good))
            self._used.update(names.filter(pa.array(is_good[rows])).unique().to_pylist())
            offered = one_array(table["labels"]).flatten().unique()
            self._offered.update(dict.fromkeys(offered.to_pylist()))
            self.fidelity.update(count_fidelity([table]))
            self._lay_out(table)
            yield _hashed(table, self._hash)

    def _lay_out(self, table: pa.Table) -> None:
        """`layout` of the manifest: pages and slots, views with an entry, views with a move."""
        for name in ("page", "slot"):
            last = pc.max(table[name]).as_py()
            number = 0 if last is None else last + 1
            self.layout[f"num_{name}s"] = max(self.layout[f"num_{name}s"], number)
        event = ragged(table["event"])
        for name, type in (("num_entered", "enter"), ("num_moved", "move")):
            self.layout[name] += int(event.any(event.values == CODE[type]).sum())

    def _wrong(self, rows: Ints, names: pa.Array) -> Iterator[tuple[int, str | None]]:
        """Views with a class that is not known, or with none."""
        wrong = names.is_null()
        if self._classes:
            known = pa.array(self._classes.names, pa.string())
            wrong = pc.invert(pc.and_(names.is_valid(), pc.is_in(names, value_set=known)))
        places = np.flatnonzero(np.asarray(wrong))
        return zip(rows[places].tolist(), names.take(pa.array(places)).to_pylist(), strict=True)

    def vocabulary(self, kind: Kind) -> dict[str, Any]:
        """`classes` and `superclasses` of the manifest."""
        if not kind.classes:
            return {"classes": [], "superclasses": {}}
        if kind.classes == "sorted":
            names = self._classes.names if self._classes else self._used
            return {"classes": sorted(names), "superclasses": {}}
        found = self._classes or Vocabulary(tuple(self._offered or sorted(self._used)))
        return {"classes": [*found.names], "superclasses": dict(found.superclasses)}


def _normalised(table: pa.Table) -> pa.Table:
    """The table with names of classes and images in NFC: one word is one name on every machine."""
    for name in ("image_id", "label"):
        place = table.column_names.index(name)
        table = table.set_column(place, table.field(name), pc.utf8_normalize(table[name], "NFC"))
    for name in ("labels", "event_label"):
        lists = one_array(table[name])
        if lists.null_count < len(lists):
            values = pc.utf8_normalize(lists.flatten(), "NFC")
            found = list_array(values, bounds_of(lists), null_rows=np.asarray(lists.is_null()))
            table = table.set_column(table.column_names.index(name), table.field(name), found)
    return table


def _no_class(where: str, name: str | None, classes: Vocabulary | None) -> RecordError:
    if name is None:
        return RecordError(where, "missing", "says of no class what it is about; expected one")
    known = classes.names if classes else ()
    reason = f"the class {name!r:.60} is none of the {len(known)} that were given"
    return RecordError(where, "unknown-class", f"{reason}{did_you_mean(name, known)}")


def _hashed(table: pa.Table, hash_worker: WorkerHash) -> pa.Table:
    """The table with `worker_id`, the keyed hash, in the place of `annotator`."""
    place = table.column_names.index("annotator")
    who = one_array(pc.utf8_trim_whitespace(table["annotator"])).dictionary_encode()
    hashed = [None if w in NO_WORKER else hash_worker(w) for w in who.dictionary.to_pylist()]
    ids = pa.array(hashed, pa.string()).take(who.indices)
    return table.set_column(place, "worker_id", ids)
