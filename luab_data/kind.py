"""What a kind of log has at each stage: the class that kinds.py has one of for each kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from luab_data.schema import Table

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from luab_data.acceptance.rules import AcceptanceRules
    from luab_data.checks.lint import KindChecks
    from luab_data.derivation.shard import Derivation
    from luab_data.exports.keypoints import PointFormat
    from luab_data.figures.catalogue import PlannedFigure
    from luab_data.hub.about import About
    from luab_data.reports.pages import PageReader
    from luab_data.statistics.measure import Statistics
    from luab_data.views import FromViews
    from luab_data.workers.traits import WorkerMeasures


class Kind:
    """One kind of log. What it has for a stage is imported when it is first asked for.

    Attributes:
        dataset: name of the released dataset, and in the manifest of a folder of this kind.
        title: that name as people write it.
        images: the table of one row an image, `default`.
        events: the table of raw fields: `rounds` or `actions`.
        annotators: the table of one row a worker.
        key: columns that name a row of `default`.
        images_per_shard: at least, of `default`; `events` has the same images in each shard.
        class_columns: of `default`, with number and name of what an image shows; "" is none.
        all_views_count: whether every view of an image has a click that counts, not only that of
            its row of `default`.
        several_labels: whether an image may be of several classes, each with a point of its own.
        as_shown: whether networks see pictures turned as EXIF says, as browsers show them: points
            are fractions of those.
        classes: how the manifest has the classes that images are of: sorted by name, as they are
            listed, or not at all.
        score: trait of a worker by which pooling is shown.
        log_format: what a raw log is, in words.
        log_begins: how its first bytes look, decompressed.
        member: the file inside a raw log that has an image, as `format` makes it of the image's
            row of `default`; empty where a log is one file.
        stages: attribute of those below -> `module:name` in luab_data; `module:name()` is a
            function of the kind, called once.
        derivation: its derived columns, computed again from a dataset folder.
        checks: what must hold in every row, and what is odd about rows.
        statistics: counts and measures, and the sources of their rows.
        workers: what is told of each worker, and the table `annotators`.
        acceptance: when an assignment is accepted, and what it costs.
        figures: every figure of such a dataset, by name, in the order of its report.
        pages: how its pages are found, read and told of in a report.
        points: what of an image other tools draw, for exports.
        explain: `decision`, `visit` or `icons` of a Record, from its rows of `images` and `events`.
        about: the release in words.
        asked: what its annotators were asked, one sentence.
        task_category, task_ids: what the Hub's card metadata calls that.
        behaviour: (folder, kind) -> what each annotator answered and did, behaviour.views.VIEWS.
        attention: (folder, kind) -> where people looked or pointed, attention.points.POINTS.
        from_views: how its rows are made of anybody's views; kinds of the releases have none.
    """

    dataset: ClassVar[str]
    title: str
    images: ClassVar[Table]
    events: ClassVar[Table]
    annotators: ClassVar[Table]
    key: ClassVar[tuple[str, ...]]
    images_per_shard: ClassVar[int]
    all_views_count: ClassVar[bool] = False
    several_labels: ClassVar[bool]
    as_shown = False
    class_columns: ClassVar[tuple[str, str]]
    classes: ClassVar[Literal["sorted", "listed", ""]]
    score: ClassVar[str]
    log_format: ClassVar[str]
    log_begins: ClassVar[re.Pattern[bytes]]
    member: ClassVar[str] = ""
    asked: ClassVar[str]
    task_category: ClassVar[str]
    task_ids: ClassVar[tuple[str, ...]]
    stages: ClassVar[Mapping[str, str]]
    derivation: Derivation
    checks: KindChecks
    statistics: Statistics
    workers: WorkerMeasures
    acceptance: AcceptanceRules
    figures: Mapping[str, PlannedFigure]
    pages: PageReader
    points: PointFormat
    explain: Callable[[pa.Table, pa.Table], dict[str, Any]]
    about: About
    behaviour: Callable[[Path, Kind], Iterator[pa.Table]]
    attention: Callable[[Path, Kind], Iterator[pa.Table]]
    from_views: FromViews

    def __getattr__(self, name: str) -> Any:
        if name not in self.stages:
            raise AttributeError(f"{self!r} has no {name!r}")
        module, _, inside = self.stages[name].partition(":")
        found = getattr(import_module(f"luab_data.{module}"), inside.removesuffix("()"))
        if inside.endswith("()"):
            found = self.__dict__[name] = found(self)
        return found

    def __repr__(self) -> str:
        return f"<Kind {self.dataset}>"

    def bound(self, manifest: Mapping[str, Any]) -> Self:
        """The kind of one dataset folder, with what its manifest says of the kind."""
        return self

    @property
    def has_view_rows(self) -> bool:
        """Whether `default` has a row a view, several of an image, instead of one an image."""
        return "view" in self.key

    @property
    def tables(self) -> tuple[Table, Table, Table]:
        """The configs, the default one first."""
        return self.images, self.events, self.annotators


class OwnData(Kind):
    """Somebody's own data: what a kind is like depends on the manifest of each folder.

    Attributes:
        deciding: which view of an image `default` is about, where that has one row an image.
    """

    as_shown = True
    deciding: Any

    def bound(self, manifest: Mapping[str, Any]) -> Self:
        """With the owner's title, and the rule that the log was converted by."""
        kind = type(self)()
        kind.title = manifest.get("collection", {}).get("title") or self.title
        kind.deciding = manifest.get("deciding", getattr(self, "deciding", None))
        return kind
