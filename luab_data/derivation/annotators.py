"""[I/O] `annotators` of a dataset whose derived columns changed: it is computed from them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from luab_data.derivation.places import Place
from luab_data.derivation.shard import Job
from luab_data.kinds import KINDS
from luab_data.schema import Table


def annotators_of(job: Job) -> pa.Table:
    """One row a worker, from the new shards of `default` and the log's of the source."""
    default, log = job.tables
    workers = KINDS[job.dataset].workers
    image_columns, event_columns = workers.table_columns
    return workers.table(
        _shards(job, job.target, default, image_columns),
        _shards(job, job.source, log, event_columns),
    )


def _shards(job: Job, where: Place, table: Table, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    for number in range(job.num_shards):
        yield where.read_table(job.file(table, number), list(columns))
