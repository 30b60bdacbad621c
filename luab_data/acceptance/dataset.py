"""[I/O] A dataset folder or a raw log -> which assignments to accept, and what they cost."""

from __future__ import annotations

import os
import secrets
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.acceptance.assignments import (
    COLUMNS,
    coco_assignments,
    imagenet_assignments,
)
from luab_data.acceptance.codes import read_codes
from luab_data.acceptance.cost import FEE, REWARD_USD, Cost, check_money, cost
from luab_data.acceptance.decisions import (
    ACCEPTED,
    REJECTED,
    UNDECIDED,
    Applied,
    Decisions,
    decide,
    num_not_in_log,
)
from luab_data.columns.regions import floats
from luab_data.convert import convert_coco, convert_imagenet
from luab_data.errors import ArchiveError, DatasetError, OptionError
from luab_data.raw.bad_records import OnBad
from luab_data.raw.source import DAMAGE, Source
from luab_data.schema import DATASETS
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Decisions on all assignments of a source.

    Attributes:
        dataset: `imagenet-ab` or `coco-ab`.
        table: one row an assignment; see Decisions.
        rules: each rule and how many assignments it rejects, leaves undecided, was not applied to.
        cost: of the accepted ones.
        assigned: originals of every ImageNet HIT as given; None if those logged were taken.
        codes_given: whether there was a list of codes; without it that rule was not applied.
        num_not_in_log: assignments of that list that the log lacks, though recorded; left out.
        num_without_assignment: COCO images without a HIT, left out.
        num_skipped: bad records of a raw log, left out.
    """

    dataset: str
    table: pa.Table
    rules: tuple[Applied, ...]
    cost: Cost
    assigned: int | None
    codes_given: bool
    num_not_in_log: int
    num_without_assignment: int
    num_skipped: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts, rules, cost, and one entry an assignment; None where not known."""
        names = (
            "assigned",
            "codes_given",
            "num_not_in_log",
            "num_without_assignment",
            "num_skipped",
        )
        return {
            "dataset": self.dataset,
            "num_assignments": len(self.table),
            **{f"num_{d}": getattr(self.cost, f"num_{d}") for d in (ACCEPTED, REJECTED, UNDECIDED)},
            "rules": [
                {
                    "name": a.rule.name,
                    "title": a.rule.title,
                    "rejects_below": a.rule.minimum,
                    "num_failed": a.num_failed,
                    "num_undecided": a.num_unknown,
                    "num_not_applied": a.num_not_applied,
                }
                for a in self.rules
            ],
            "cost": asdict(self.cost),
            **{name: getattr(self, name) for name in names},
            "assignments": self.table.to_pylist(),
        }


def accept(
    source: str | os.PathLike[str],
    *,
    instances: Path | None = None,
    on_bad: OnBad = "raise",
    codes: Path | None = None,
    assigned: int | None = None,
    reward_usd: float | None = None,
    fee: float = FEE,
    shown: bool | None = None,
) -> Acceptance:
    """Apply the paper's rules to every assignment: an `assignment_id`, for COCO-AB a `hit_id`.

    Args:
        source: a dataset folder, its name under $LUAB_DATA_HOME, or a raw log; a log is converted
            to a temporary folder first ($TMPDIR), which takes about its size on disk.
        instances: COCO's ground truth for a raw log; a dataset folder has its own, or none.
        on_bad: what to do about bad records of a raw log, as convert.
        codes: CSV of what the log does not tell; see read_codes.
        assigned: originals of every ImageNet HIT; None takes those logged, and for each missing
            page as many as on the fullest logged one.
        reward_usd: of a HIT; None takes the paper's, 1.5 for ImageNet-AB and 2 for COCO-AB.
        fee: share on top of every reward.
        shown: progress bars; None shows them on a terminal.

    Raises:
        DatasetError, ArchiveError, RecordError: of the source.
        OptionError: an option that the source has no use for, a bad list of codes.
    """
    check_money(0 if reward_usd is None else reward_usd, fee)
    listed = None if codes is None else read_codes(codes)
    path = Path(source).expanduser()
    if not path.is_file():
        if instances is not None:
            raise OptionError(
                f"{path}: is no raw log, so instances has no effect; `luab-data derive DIR"
                " --instances FILE` gives a dataset folder its ground truth"
            )
        return _accept(find_dataset(source), listed, assigned, reward_usd, fee)
    kind = kind_of_log(path)
    _check_options(kind, listed, assigned)
    if instances is not None and kind == "imagenet-ab":
        raise OptionError(f"{path}: is a log of ImageNet-AB, which instances has no effect on")
    # Worker ids are of no use here: hashed with a key that nobody keeps.
    key = secrets.token_bytes(32)
    with tempfile.TemporaryDirectory(prefix="luab-accept-") as folder:
        out = Path(folder) / kind
        if kind == "imagenet-ab":
            done = convert_imagenet(path, out, on_bad=on_bad, worker_key=key, shown=shown)
        else:
            done = convert_coco(
                path, out, instances=instances, on_bad=on_bad, worker_key=key, shown=shown
            )
        num_skipped = sum(done.skipped.values())
        return _accept(out, listed, assigned, reward_usd, fee, num_skipped=num_skipped)


def _accept(
    folder: Path,
    codes: pa.Table | None,
    assigned: int | None,
    reward_usd: float | None,
    fee: float,
    *,
    num_skipped: int = 0,
) -> Acceptance:
    dataset = read_manifest(folder)["dataset"]
    _check_options(dataset, codes, assigned)
    num_without = 0

    def batches() -> Iterator[pa.Table]:
        nonlocal num_without
        config = "rounds" if dataset == "imagenet-ab" else "default"
        table = next(t for t in DATASETS[dataset] if t.config == config)
        for batch in read_columns(folder, table, COLUMNS[dataset]):
            num_without += batch[_ID[dataset]].null_count
            yield batch

    facts = (imagenet_assignments if dataset == "imagenet-ab" else coco_assignments)(batches())
    lacking = 0 if codes is None else num_not_in_log(facts, codes)
    if codes is not None and len(codes) and lacking == len(codes):
        raise OptionError(
            f"codes: none of the {len(codes)} assignments is in the log, and none is said to be"
            f" missing there; expected a list of {_ID[dataset]} of this log"
        )
    decisions = decide(facts, dataset, codes=codes, assigned=assigned)
    return Acceptance(
        dataset=dataset,
        table=decisions.table,
        rules=decisions.rules,
        cost=_cost(decisions, REWARD_USD[dataset] if reward_usd is None else reward_usd, fee),
        assigned=assigned,
        codes_given=codes is not None,
        num_not_in_log=lacking,
        num_without_assignment=num_without,
        num_skipped=num_skipped,
    )


_ID = {"imagenet-ab": "assignment_id", "coco-ab": "hit_id"}


def _cost(decisions: Decisions, reward_usd: float, fee: float) -> Cost:
    durations = floats(decisions.table["duration_ms"])
    durations = durations[~np.isnan(durations)]
    return cost(
        num_accepted=decisions.count(ACCEPTED),
        num_rejected=decisions.count(REJECTED),
        num_undecided=decisions.count(UNDECIDED),
        reward_usd=reward_usd,
        fee=fee,
        median_hit_ms=float(np.median(durations)) if len(durations) else None,
        num_timed=len(durations),
    )


def _check_options(dataset: str, codes: pa.Table | None, assigned: int | None) -> None:
    if dataset not in COLUMNS:
        raise DatasetError(f"holds {dataset!r}; expected one of {', '.join(COLUMNS)}")
    if dataset == "imagenet-ab":
        return
    if assigned is not None:
        raise OptionError("assigned has no effect on COCO-AB, whose recall is a mean over pages")
    if codes is not None and codes["num_selections"].null_count < len(codes):
        raise OptionError("codes: num_selections has no effect on COCO-AB; leave that column out")


def kind_of_log(path: Path) -> str:
    """`imagenet-ab` for a tar, `coco-ab` for JSON, plain or gzip.

    Raises:
        ArchiveError: neither.
    """
    with Source(path) as source:
        try:
            head = source.content().read(tarfile.BLOCKSIZE)
        except (OSError, *DAMAGE) as error:
            raise ArchiveError(f"{path}: cannot be read ({error}); copy it again") from error
    with suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
        return "imagenet-ab"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{"):
        return "coco-ab"
    raise ArchiveError(
        f"{path}: is neither a tar nor JSON; expected a dataset folder, the tar.gz of ImageNet-AB"
        " or the JSON of COCO-AB"
    )
