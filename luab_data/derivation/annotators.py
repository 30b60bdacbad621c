"""[I/O] `annotators` of a dataset whose derived columns changed: it is computed from them."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from luab_data.derivation.places import Place
from luab_data.derivation.shard import Job
from luab_data.schema import Table
from luab_data.workers.published import (
    click_facts,
    coco_annotators,
    icon_facts,
    imagenet_annotators,
    round_facts,
)

_ROUND_FACTS = (
    *("worker_id", "assignment_id", "selected", "estimate_time_ms", "mouse_tracking_time_ms"),
)
_CLICK_FACTS = (
    *("worker_id", "final_click_x", "final_click_y", "click_in_box", "width", "height", "boxes"),
)
_ICON_FACTS = (
    *("worker_id", "hit_id", "time_spent_ms", "labels"),
    *("icon_label", "is_present_at_end", "is_on_object"),
)


def annotators_of(job: Job) -> pa.Table:
    """One row a worker, from the new shards of `default` and the log's of the source."""
    default, log = job.tables
    if job.dataset == "coco-ab":
        return coco_annotators(_facts(job, job.target, default, _ICON_FACTS, icon_facts))
    return imagenet_annotators(
        _facts(job, job.source, log, _ROUND_FACTS, round_facts),
        _facts(job, job.target, default, _CLICK_FACTS, click_facts),
    )


def _facts(
    job: Job,
    where: Place,
    table: Table,
    columns: tuple[str, ...],
    facts: Callable[[pa.Table], pa.Table],
) -> pa.Table:
    files = (job.file(table, number) for number in range(job.num_shards))
    return pa.concat_tables([facts(where.read_table(file, list(columns))) for file in files])
