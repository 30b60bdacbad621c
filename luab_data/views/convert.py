"""[I/O] Views of any reader -> a dataset folder: the way in for everybody's own logs.

What the three kinds do differently, the kind says: `batches` of kinds.py. Here files are read,
people hashed, records checked, and what is known of the collection goes into the manifest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data import pipeline
from luab_data.columns.rounds import Deciding
from luab_data.console import progress
from luab_data.conversion import (
    AnyPath,
    Converted,
    Job,
    check_some,
    converted,
    label_shards,
    read_truth,
    seal,
    write_annotators,
)
from luab_data.errors import ArchiveError, OptionError, RecordError
from luab_data.files import MANIFEST, new_folder, sha256_of
from luab_data.hub.card import about_instances
from luab_data.importers import importer
from luab_data.kinds import OWN_KINDS, Kind
from luab_data.ragged import Ints, bounds_of, list_array, one_array
from luab_data.raw.bad_records import BadRecords, OnBad
from luab_data.raw.coco import NO_WORKER
from luab_data.raw.source import Source
from luab_data.raw.worker_ids import WorkerHash, read_key
from luab_data.store.folder import SKIPPED, read_columns, read_manifest
from luab_data.store.shards import ShardWriter, Unlabelled
from luab_data.tools import Vocabulary
from luab_data.views import Conversion, FromViews, Reading, count_fidelity
from luab_data.views.log import Kind as LogKind
from luab_data.views.log import read as read_log
from luab_data.words import did_you_mean


class Options(TypedDict, total=False):
    """What every conversion of views takes.

    title: what the data are called, in words; the name of the folder if it is not given.
    name: the same in one word, for tools that need one.
    license: id of the Hub, e.g. `cc-by-4.0`.
    collected_by: who collected them.
    description: what they are, one paragraph.
    url: where they are described.
    citation: BibTeX.
    on_bad: `raise` at the first bad record, or `skip` and list them in `skipped.jsonl`.
    worker_key: secret that ids of annotators are hashed with; None takes that of
        `$LUAB_WORKER_KEY_FILE`, else of your configuration folder.
    force: replace another dataset of luab at `out`; what luab did not write is never replaced.
    shown: progress bars; None shows them on a terminal.
    """

    title: str
    name: str
    license: str
    collected_by: str
    description: str
    url: str
    citation: str
    on_bad: OnBad
    worker_key: bytes | None
    force: bool
    shown: bool | None


_COLLECTION = ("title", "name", "license", "collected_by", "description", "url", "citation")

Classes = Sequence[str] | Mapping[str, Sequence[str]]
"""Names of classes, or superclass -> its classes."""


def convert_browsing(
    log: AnyPath,
    out: AnyPath,
    *,
    classes: Classes | AnyPath | None = None,
    deciding: Deciding = "majority",
    **options: Unpack[Options],
) -> Converted:
    """Convert an open log of a browsing task to a dataset folder, like ImageNet-AB's.

    Args:
        log: JSON Lines, plain, gzip or Zstandard; docs/log-format.md.
        out: the dataset folder.
        classes: all classes there are, or a file of them; None takes those of the log. A view of
            another class is a bad record.
        deciding: whether an image is selected that several people saw, and which view is the one of
            `default`: `last`, `majority`, `all` or `any`; docs/log-format.md#deciding.
        options: see Options.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    job = _Views("browsing", read_classes(classes), {"deciding": deciding})
    return job.convert_log(log, out, ("browsing",), options)


def convert_tagging(
    log: AnyPath,
    out: AnyPath,
    *,
    classes: Classes | AnyPath | None = None,
    instances: AnyPath | None = None,
    deciding: Literal["last", "majority"] = "majority",
    **options: Unpack[Options],
) -> Converted:
    """Convert an open log of a tagging task to a dataset folder, like COCO-AB's.

    Args:
        log, out: as of convert_browsing.
        classes: all classes in their order, with superclasses where the page had them, or a file;
            None takes those that the log offered, else those that it has.
        instances: COCO-style annotations of the images, with categories of these names.
        deciding: which view of an image is the one of `default`: the `last`, or the one whose
            labels agree most with the others'.
        options: see Options.

    Raises:
        RecordError, ArchiveError, ImagesError, OutputError, OptionError: nothing was changed then.
    """
    truth = None if instances is None else Path(instances)
    job = _Views("tagging", read_classes(classes), {"deciding": deciding}, truth)
    return job.convert_log(log, out, ("tagging",), options)


def convert_tracing(log: AnyPath, out: AnyPath, **options: Unpack[Options]) -> Converted:
    """Convert an open log of a tracing or pointing task to a dataset folder, a row a view.

    Args:
        log, out, options: as of convert_browsing.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    return _Views("tracing", None, {}).convert_log(log, out, ("tracing", "pointing"), options)


def convert_from(
    source: str,
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    reading: Mapping[str, str] = MappingProxyType({}),
    **options: Unpack[Options],
) -> Converted:
    """Convert another project's record of attention to a dataset folder; docs/importers.md.

    Args:
        source: name of the importer, e.g. `salicon`.
        paths: its files, or folders in the publisher's layout.
        out: the dataset folder.
        reading: options of the importer.
        options: see Options; where they say nothing, the card has what is known of the source.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    found = importer(source)
    for name in set(reading) - set(found.options):
        raise OptionError(f"{source} has no option {name!r}{did_you_mean(name, found.options)}")
    files = [Path(p) for p in ([paths] if isinstance(paths, (str, PathLike)) else paths)]
    said = {k: getattr(found, k) for k in _COLLECTION if getattr(found, k, "")}
    job = _Views(found.kind, None, {"reading": dict(reading)}, said={**said, "source": found.name})
    read = partial(found.read, files, **reading)
    return job.convert(lambda unknown, on_read: read(unknown, on_read), files, out, options)


def read_classes(classes: Classes | AnyPath | None) -> Vocabulary | None:
    """Classes as they are given, or of a file: a name a line, or JSON (a list, an object of them).

    Raises:
        OptionError: the file cannot be read, or a name is there twice.
    """
    if isinstance(classes, (str, PathLike)):
        classes = _of_file(Path(classes))
    if isinstance(classes, Mapping):
        groups = {name: tuple(some) for name, some in classes.items()}
        return Vocabulary(tuple(name for some in groups.values() for name in some), groups)
    return None if classes is None else Vocabulary(tuple(classes))


def _of_file(path: Path) -> Classes:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".json":
            return [line.strip() for line in text.splitlines() if line.strip()]
        return msgspec.json.decode(text, type=dict[str, list[str]] | list[str])
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(
            f"{path}: cannot read the classes ({reason}); expected a name a line, or JSON: a list"
            " of names, or an object superclass -> names"
        ) from error


Reader = Callable[[Counter[str], Callable[[int], object]], Iterator[Reading]]
"""(unknown fields, told of bytes) -> readings."""


@dataclass(frozen=True)
class _Views:
    """A conversion of views.

    Args:
        dataset: name of the kind.
        classes: those that are given.
        settings: what else goes to the manifest: how views are read, what decides.
        instances: COCO-style annotations.
        said: of the collection, where the options say nothing.
    """

    dataset: str
    classes: Vocabulary | None
    settings: Mapping[str, Any]
    instances: Path | None = None
    said: Mapping[str, Any] = field(default_factory=lambda: {"source": "own"})

    def convert_log(
        self, log: AnyPath, out: AnyPath, kinds: tuple[LogKind, ...], options: Options
    ) -> Converted:
        """An open log."""
        path = Path(log)
        if path.is_dir():
            raise ArchiveError(f"{path}: is a folder; expected a log: JSON Lines, a view a line")

        def read(unknown: Counter[str], on_read: Callable[[int], object]) -> Iterator[Reading]:
            with Source(path, on_read) as source:
                yield from read_log(source.content(), unknown, kinds)

        return self.convert(read, [path], out, options)

    def convert(
        self, read: Reader, files: Sequence[Path], out: AnyPath, options: Options
    ) -> Converted:
        """The views of a reader; `files` are what it reads."""
        place, shown = Path(out), options.get("shown")
        key = options.get("worker_key")
        hash_worker = WorkerHash(read_key() if key is None else key)
        collection = {
            "title": place.name,
            **self.said,
            **{k: v for k, v in options.items() if k in _COLLECTION and v},
        }
        on_bad, kind = options.get("on_bad", "raise"), OWN_KINDS[self.dataset]
        what = {**self.settings, "on_bad": on_bad, "collection": collection}
        given = self.classes and [self.classes.names, [*self.classes.superclasses.items()]]
        job = Job(kind, hash_worker, {**what, "classes": given}, self.instances)
        name, sha256 = _source(files)
        settings = (
            {"job": job.digest(name, sha256, False)} if (place / MANIFEST).is_file() else None
        )
        force = options.get("force", False)
        with new_folder(place, by="dataset", settings=settings, force=force) as target:
            if target.same:
                return converted(place, read_manifest(place), is_same=True)
            folder = target.path
            bad = BadRecords(on_bad, folder / SKIPPED)
            seen = _Seen(kind.from_views, hash_worker, bad, self.classes)
            conversion = Conversion(
                folder=folder,
                bind=lambda: kind.bound({**self.settings, **seen.vocabulary(kind)}),
                read_truth=lambda _: read_truth(self.instances, shown),
            )
            writers = [ShardWriter(folder, table) for table in (kind.images, kind.events)]
            waiting = Unlabelled(folder / "waiting") if kind.classes == "sorted" else None
            total = sum(file.stat().st_size for file in files if file.is_file()) or None
            with progress(
                what="convert", total=total, unit="B", unit_scale=True, shown=shown
            ) as bar:
                tables = seen.tables(read(seen.unknown, bar.update))
                batches = kind.from_views.batches(tables, conversion)
                written = pipeline.write_shards(
                    kind, batches, waiting or writers[0], writers[1], bad
                )
            check_some(written, name, bad)
            vocabulary = seen.vocabulary(kind)
            classes = vocabulary["classes"]
            shards = [label_shards(kind.images, waiting, classes, folder, shown)] if waiting else []
            for writer in writers[len(shards) :]:
                writer.close()
                shards.append(writer.shards)
            bound = conversion.kind
            about = {
                **job.about(name, sha256, bad, written._replace(unknown=dict(seen.unknown))),
                **self.settings,
                **({"superclasses": s} if (s := vocabulary["superclasses"]) else {}),
                "collection": collection,
                "fidelity": dict(seen.fidelity),
            }
            if conversion.truth is not None and self.instances is not None:
                labels = (t["labels"] for t in read_columns(folder, kind.images, ["labels"]))
                about["instances"] = about_instances(conversion.truth, self.instances, name, labels)
            done = seal(
                bound,
                folder,
                place,
                shards=(*shards, write_annotators(bound, folder)),
                about=about,
                wnids=classes,
            )
        remarks = conversion.truth.remarks() if conversion.truth is not None else []
        return replace(done, is_same=target.same, remarks=tuple(remarks))


def _source(files: Sequence[Path]) -> tuple[str, str]:
    """What the manifest calls the files, and their digest: that of the file if there is one."""
    if len(files) == 1 and files[0].is_file():
        return files[0].name, sha256_of(files[0])
    found = sorted(
        inner
        for file in files
        for inner in (file.rglob("*") if file.is_dir() else [file])
        if inner.is_file()
    )
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in found)
    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    return name, hashlib.sha256(lines.encode()).hexdigest()


class _Seen:
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
            self._used.update(n for n in names.unique().to_pylist() if n is not None)
            offered = one_array(table["labels"]).flatten().unique()
            self._offered.update(dict.fromkeys(offered.to_pylist()))
            self.fidelity.update(count_fidelity([table]))
            yield _hashed(table, self._hash)

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
