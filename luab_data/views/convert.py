"""[I/O] Views of any reader -> a dataset folder: the way in for everybody's own logs.

What the three kinds do differently, the kind says: `batches` of kinds.py. Here files are read,
people hashed, records checked, and what is known of the collection goes into the manifest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import msgspec

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
from luab_data.errors import OptionError
from luab_data.files import MANIFEST, new_folder, sha256_of
from luab_data.hub.card import about_instances
from luab_data.kinds import OWN_KINDS
from luab_data.raw.bad_records import BadRecords, OnBad
from luab_data.raw.private import Private, said
from luab_data.raw.worker_ids import WorkerHash, read_key
from luab_data.store.folder import SKIPPED, read_columns, read_manifest
from luab_data.store.shards import ShardWriter, Unlabelled
from luab_data.tools import Vocabulary
from luab_data.views import Conversion, Reading
from luab_data.views.given_boxes import GivenBoxes
from luab_data.views.lines import log_file
from luab_data.views.lines import read as read_log
from luab_data.views.log import Kind as LogKind
from luab_data.views.seen import Seen


class Options(TypedDict, total=False):
    """What every conversion of views takes.

    Attributes:
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
        private: other values that look like e-mail addresses or hold an annotator's id: `keep`
            counts them, and `publish` refuses them; `hash` puts hashes in their place.
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
    private: Private
    force: bool
    shown: bool | None


COLLECTION = ("title", "name", "license", "collected_by", "description", "url", "citation")

Classes = Sequence[str] | Mapping[str, Sequence[str]]
"""Names of classes, or superclass -> its classes."""


def convert_browsing(
    log: AnyPath,
    out: AnyPath,
    *,
    classes: Classes | AnyPath | None = None,
    boxes: AnyPath | None = None,
    deciding: Deciding = "majority",
    **options: Unpack[Options],
) -> Converted:
    """Convert an open log of a browsing task to a dataset folder, like ImageNet-AB's.

    Args:
        log: JSON Lines, plain, gzip or Zstandard; docs/log-format.md.
        out: the dataset folder.
        classes: all classes there are, or a file of them; None takes those of the log. A view of
            another class is a bad record.
        boxes: a folder or file of boxes that `luab_data.read_boxes` reads, of the class that was
            asked for, by names of the pictures; they say whether clicks hit. A picture that EXIF
            turns needs boxes as it is shown.
        deciding: whether an image is selected that several people saw, and which view is the one of
            `default`: `last`, `majority`, `all` or `any`; docs/log-format.md#deciding.
        options: see Options.

    Raises:
        RecordError, ArchiveError, ImagesError, OutputError, OptionError: nothing was changed then.
    """
    given = None if boxes is None else Path(boxes)
    job = ViewsJob("browsing", read_classes(classes), {"deciding": deciding}, boxes=given)
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
    job = ViewsJob("tagging", read_classes(classes), {"deciding": deciding}, truth)
    return job.convert_log(log, out, ("tagging",), options)


def convert_tracing(log: AnyPath, out: AnyPath, **options: Unpack[Options]) -> Converted:
    """Convert an open log of a tracing or pointing task to a dataset folder, a row a view.

    Args:
        log, out, options: as of convert_browsing.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    return ViewsJob("tracing", None, {}).convert_log(log, out, ("tracing", "pointing"), options)


def read_classes(classes: Classes | AnyPath | None) -> Vocabulary | None:
    """Classes as they are given, or of a file: a name a line, or JSON (a list, an object of them).

    Raises:
        OptionError: the file cannot be read, or a name is there twice.
    """
    if classes is None:
        return None
    where = f"{classes}" if isinstance(classes, (str, PathLike)) else "classes"
    if isinstance(classes, (str, PathLike)):
        classes = _of_file(Path(classes))
    groups = {}
    if isinstance(classes, Mapping):
        groups = {name: tuple(some) for name, some in classes.items()}
        classes = [name for some in groups.values() for name in some]
    if not classes:
        raise OptionError(f"{where}: has no class; expected at least one name")
    return Vocabulary(tuple(classes), groups)


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


class Origin(NamedTuple):
    """What a reader reads."""

    name: str  # in the manifest
    sha256: str
    num_bytes: int | None  # for a progress bar


def origin_of(files: Sequence[Path]) -> Origin:
    """Files, and all that is in folders, as one; the digest of a single file is its own."""
    if len(files) == 1 and files[0].is_file():
        return Origin(files[0].name, sha256_of(files[0]), files[0].stat().st_size)
    found = sorted(
        inner
        for file in files
        for inner in (file.rglob("*") if file.is_dir() else [file])
        if inner.is_file()
    )
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in found)
    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    num_bytes = sum(file.stat().st_size for file in found)
    return Origin(name, hashlib.sha256(lines.encode()).hexdigest(), num_bytes)


Reader = Callable[[Counter[str], Callable[[int], object]], Iterator[Reading]]
"""(unknown fields, told of bytes) -> readings."""


@dataclass(frozen=True)
class ViewsJob:
    """A conversion of views.

    Args:
        dataset: name of the kind.
        classes: those that are given.
        settings: what else goes to the manifest: how views are read, what decides.
        instances: COCO-style annotations.
        said: of the collection, where the options say nothing.
        boxes: of the images, where they are browsed.
    """

    dataset: str
    classes: Vocabulary | None
    settings: Mapping[str, Any]
    instances: Path | None = None
    said: Mapping[str, Any] = field(default_factory=lambda: {"source": "own"})
    boxes: Path | None = None

    def convert_log(
        self, log: AnyPath, out: AnyPath, kinds: tuple[LogKind, ...], options: Options
    ) -> Converted:
        """An open log."""
        path = log_file(log)

        def read(unknown: Counter[str], on_read: Callable[[int], object]) -> Iterator[Reading]:
            return read_log(path, unknown, on_read, kinds)

        return self.convert(read, origin_of([path]), out, options)

    def convert(self, read: Reader, origin: Origin, out: AnyPath, options: Options) -> Converted:
        """The views of a reader."""
        place, shown = Path(out), options.get("shown")
        key = options.get("worker_key")
        hash_worker = WorkerHash(read_key() if key is None else key)
        collection = {
            "title": place.name,
            **self.said,
            **{k: v for k, v in options.items() if k in COLLECTION and v},
        }
        on_bad, kind = options.get("on_bad", "raise"), OWN_KINDS[self.dataset]
        private = options.get("private", "keep")
        what = {**self.settings, **said(private), "on_bad": on_bad, "collection": collection}
        given = self.classes and [self.classes.names, [*self.classes.superclasses.items()]]
        boxes = None if self.boxes is None else GivenBoxes(self.boxes)
        of_boxes = {} if boxes is None else {"sha256": origin_of(boxes.files).sha256}
        told = {**what, "classes": given, **({"boxes": of_boxes} if of_boxes else {})}
        job = Job(kind, hash_worker, told, self.instances)
        name, sha256, total = origin
        settings = (
            {"job": job.digest(name, sha256, False)} if (place / MANIFEST).is_file() else None
        )
        force = options.get("force", False)
        with new_folder(place, by="dataset", settings=settings, force=force) as target:
            if target.same:
                return converted(place, read_manifest(place), is_same=True)
            folder = target.path
            bad = BadRecords(on_bad, folder / SKIPPED)
            seen = Seen(kind.from_views, hash_worker, bad, self.classes)
            conversion = Conversion(
                folder=folder,
                bind=lambda: kind.bound({**self.settings, **seen.vocabulary(kind)}),
                read_truth=lambda kind: read_truth(kind, self.instances, shown),
                boxes=boxes,
            )
            writers = [ShardWriter(folder, table) for table in (kind.images, kind.events)]
            waiting = Unlabelled(folder / "waiting") if kind.classes == "sorted" else None
            with progress(
                what="convert", total=total, unit="B", unit_scale=True, shown=shown
            ) as bar:
                tables = seen.tables(read(seen.unknown, bar.update))
                found = kind.from_views.batches(tables, conversion)
                batches = (batch.screened(hash_worker, private) for batch in found)
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
                "layout": seen.layout,
            }
            if boxes is not None:
                about["boxes"] = {**boxes.about(name), **of_boxes}
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
