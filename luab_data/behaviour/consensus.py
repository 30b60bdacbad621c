"""[I/O] `luab-data consensus`: what several annotators say together, and whether behaviour helps.

Dawid and Skene's model: each person has a table of how they answer when this or that is true. To it
we add a guess: an answer is one of that person's table only if they attended, and what anybody
would say blindly if not; whether they attended depends on the time they took, more or less than
they usually do. Without times it is Dawid and Skene's model.

Source: Dawid and Skene, Applied Statistics 28(1), 1979; docs/definitions.md#consensus.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.behaviour.views import answers_of, views_of
from luab_data.errors import OptionError
from luab_data.kinds import kind_of
from luab_data.ragged import Bools, Floats, Ints, floats, one_array
from luab_data.results import Tabular, new_table
from luab_data.statistics.estimate import Estimate, WorkerSums, draw_workers, mean_of
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import counted

_VERB = "luab-data consensus"
_FOLDS = 5
_STEPS = 500
_CLOSE = 1e-4
_PRIOR = 2.0  # answers of the crowd that each person's table has beforehand, for each truth
_RIDGE = 1.0  # precision of a slope beforehand: an odds of e a deviation is a lot


@dataclass(frozen=True, eq=False)
class Consensus(Tabular):
    """Labels of tasks that several people answered.

    Attributes:
        table: a row a task: `task`, `label`, its `probability`, `num_answers`, `majority` (the most
            frequent answer, the first by name of equals) and `share`, how many gave it.
        workers: a row a worker: `worker`, `num_answers`, `accuracy`, the mean probability that an
            answer of theirs is the truth.
        answers: a row an answer: `task`, `worker`, `label`, which is what crowd-kit reads.
        time_slope: change of the log odds that somebody attended with one standard deviation of the
            log of the time they took, within a person; None without times.
        gain: mean log probability of answers that were held out, with times less that of the same
            model with equal times; its interval is over people. None without times.
        num_overruled: tasks whose label got fewer answers than another one.
        num_single: tasks that one person answered, which are left out.
    """

    table: pa.Table
    workers: pa.Table
    answers: pa.Table
    time_slope: float | None = None
    gain: Estimate | None = field(default=None, repr=False)
    num_overruled: int = 0
    num_single: int = 0

    def __repr__(self) -> str:
        people = counted(len(self.workers), "worker")
        return f"<Consensus on {counted(len(self.table), 'task')} of {people}>"

    def to_table(self) -> pa.Table:
        """A row a task."""
        return self.table


def consensus(
    dataset: str | os.PathLike[str],
    *,
    behaviour: bool = True,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    answers: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Consensus:
    """What several annotators of an image say together.

    Args:
        dataset: folder or name, of any kind.
        behaviour: ask the times that people took; False is Dawid and Skene's model.
        seed: of the answers that are held out, and of the bootstrap over people.
        out: a .csv, .json or .parquet file to write the table of tasks to.
        answers: likewise, for the answers themselves: `task,worker,label`, as crowd-kit has it.
        force: replace earlier files.

    Raises:
        DatasetError: not a dataset.
        OptionError: nobody known answered anything, or no task has two answers.
        OutputError: of the files.
    """
    folder = find_dataset(dataset)
    with (
        new_table(out, verb=_VERB, first="task", force=force) as write,
        new_table(answers, verb=_VERB, first="task", force=force) as write_answers,
    ):
        views = views_of(folder, kind_of(read_manifest(folder)))
        found = answers_of(views)
        if not len(found):
            raise OptionError(f"{folder}: no answer of anybody known; expected views with workers")
        write_answers(found.select(["task", "worker", "label"]))
        times_answered = found["task"].value_counts()
        single = pc.equal(times_answered.field("counts"), 1)
        alone = times_answered.field("values").filter(single)
        several = found.filter(pc.invert(pc.is_in(found["task"], value_set=alone)))
        if not len(several):
            raise OptionError(
                f"{folder}: no task has two answers, so there is nothing to agree on; expected"
                " images that several people saw"
            )
        time_ms = floats(views["time_ms"].take(several["view"])) if behaviour else None
        if time_ms is not None and np.isnan(time_ms).all():
            time_ms = None  # a log without times
        done = agree(several["task"], several["worker"], several["label"], time_ms, seed=seed)
        write(done.table)
    return replace(done, num_single=len(alone))


def agree(
    task: pa.ChunkedArray,
    worker: pa.ChunkedArray,
    label: pa.ChunkedArray,
    time_ms: Floats | None = None,
    *,
    seed: int = 0,
) -> Consensus:
    """The same of answers.

    Args:
        task, worker, label: (num_answers,) text.
        time_ms: (num_answers,) that they took; NaN is as much as that person usually takes.
        seed: as of consensus.
    """
    codes = [one_array(column).dictionary_encode() for column in (task, worker, label)]
    tasks, workers, labels = (np.asarray(c.indices).astype(np.int64) for c in codes)
    answers = _Answers(tasks, workers, labels, *(len(c.dictionary) for c in codes))
    z = None if time_ms is None else _standard(time_ms, answers.worker, answers.num_workers)
    model = fit(answers, z)
    truth = model.truth
    names = codes[2].dictionary
    votes = answers.votes()
    alphabetic = np.argsort(np.argsort(np.array(names.to_pylist(), dtype=object)))
    most = np.argmax(votes - 1e-9 * alphabetic, axis=1)
    best = truth.argmax(axis=1)
    given = np.bincount(answers.task, minlength=answers.num_tasks)
    right = truth[answers.task, answers.label]
    each = np.bincount(answers.worker, minlength=answers.num_workers)
    return Consensus(
        table=pa.table({
            "task": codes[0].dictionary,
            "label": names.take(pa.array(best)),
            "probability": truth.max(axis=1),
            "num_answers": given,
            "majority": names.take(pa.array(most)),
            "share": votes.max(axis=1) / given,
        }),
        workers=pa.table({
            "worker": codes[1].dictionary,
            "num_answers": each,
            "accuracy": np.bincount(answers.worker, right, answers.num_workers) / each,
        }),
        answers=pa.table({"task": task, "worker": worker, "label": label}),
        num_overruled=int((votes[np.arange(len(best)), best] < votes.max(axis=1)).sum()),
        time_slope=None if model.attends is None else float(model.attends[1]),
        gain=None if z is None else _gain(answers, z, model, seed),
    )  # fmt: skip


class _Answers(NamedTuple):
    task: Ints  # (num_answers,) codes
    worker: Ints
    label: Ints
    num_tasks: int
    num_workers: int
    num_labels: int

    def votes(self) -> Floats:
        """(num_tasks, num_labels) how many gave each answer."""
        place = self.task * self.num_labels + self.label
        counts = np.bincount(place, minlength=self.num_tasks * self.num_labels)
        return counts.reshape(self.num_tasks, self.num_labels).astype(np.float64)

    def only(self, kept: Bools) -> _Answers:
        """Some of the answers, of the same tasks and people."""
        return self._replace(task=self.task[kept], worker=self.worker[kept], label=self.label[kept])


class Model(NamedTuple):
    """What was fitted.

    Args:
        truth: (num_tasks, num_labels) probability of each label.
        tables: (num_workers, num_labels, num_labels) what each answers, by the truth, if attending.
        guess: (num_labels,) what anybody answers who does not.
        attends: intercept and slope of the log odds of attending, by standardised log time; None:
            everybody does.
    """

    truth: Floats
    tables: Floats
    guess: Floats
    attends: Floats | None


def fit(
    answers: _Answers, z: Floats | None = None, start: tuple[float, float] = (2.0, 0.0)
) -> Model:
    """Fit by expectation and maximisation from the shares of votes.

    Args:
        answers: of tasks; a task without any keeps the share of labels overall.
        z: (num_answers,) standardised log times; None is Dawid and Skene's model.
        start: of the log odds of attending; it changes how long it takes.
    """
    task, worker, label, num_tasks, _, num_labels = answers
    truth = answers.votes()
    overall = truth.sum(axis=0) / truth.sum()
    given = truth.sum(axis=1, keepdims=True)
    truth = np.where(given > 0, truth / np.maximum(given, 1), overall)
    attends = None if z is None else np.array(start)
    attended, guess = np.ones(len(task)), overall
    for _ in range(_STEPS):
        tables = _tables(answers, truth, attended)
        share = truth.mean(axis=0)
        rate = np.ones(len(task)) if attends is None or z is None else _sigmoid(attends, z)
        meant = tables[worker, :, label]  # (num_answers, num_labels), by the truth
        chance = rate[:, None] * meant + (1 - rate[:, None]) * guess[label][:, None]
        logs = np.log(np.maximum(share, 1e-12)) + _summed(task, np.log(chance), num_tasks)
        logs -= logs.max(axis=1, keepdims=True)
        found = np.exp(logs)
        found /= found.sum(axis=1, keepdims=True)
        moved = np.abs(found - truth).max()
        truth = found
        if attends is not None and z is not None:
            attended = (truth[task] * rate[:, None] * meant / chance).sum(axis=1)
            blind = np.bincount(label, 1 - attended, num_labels) + overall
            guess = blind / blind.sum()
            before, attends = attends, _logistic(attends, z, attended)
            moved = max(moved, np.abs(attends - before).max())
        if moved < _CLOSE:
            break
    return Model(truth, tables, guess, attends)


def _tables(answers: _Answers, truth: Floats, attended: Floats) -> Floats:
    """(num_workers, num_labels, num_labels) how each answers, drawn to how everybody does."""
    task, worker, label, _, num_workers, num_labels = answers
    weights = truth[task] * attended[:, None]
    flat = _summed(worker * num_labels + label, weights, num_workers * num_labels)
    counts = np.swapaxes(flat.reshape(num_workers, num_labels, num_labels), 1, 2)
    crowd = counts.sum(axis=0) + 0.5 * np.eye(num_labels) + 0.01
    crowd /= crowd.sum(axis=1, keepdims=True)
    counts = counts + _PRIOR * crowd
    return np.asarray(counts / counts.sum(axis=2, keepdims=True))


def _summed(place: Ints, values: Floats, num_places: int) -> Floats:
    """(num_places, k) sums of values (n, k) by their place (n,)."""
    return np.stack([np.bincount(place, v, num_places) for v in values.T], axis=1)


def _standard(time_ms: Floats, worker: Ints, num_workers: int) -> Floats:
    """(num_answers,) log times less the person's mean, in standard deviations; 0 if not known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(np.where(time_ms > 0, time_ms, np.nan))
    known = np.isfinite(logs)
    sums = np.bincount(worker[known], logs[known], num_workers)
    means = sums / np.maximum(np.bincount(worker[known], minlength=num_workers), 1)
    centred = np.where(known, logs - means[worker], 0.0)
    spread = float(np.sqrt((centred[known] ** 2).mean())) if known.any() else 0.0
    return centred / spread if spread > 0 else centred


def _sigmoid(attends: Floats, z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(attends[0] + attends[1] * z, -30, 30))))


def _logistic(start: Floats, z: Floats, wanted: Floats) -> Floats:
    """One regression of probabilities on z, with a small ridge on the slope; Newton's steps."""
    x = np.stack([np.ones_like(z), z], axis=1)
    ridge = np.diag([0.0, _RIDGE])
    found = start
    for _ in range(5):
        rate = np.clip(_sigmoid(found, z), 1e-6, 1 - 1e-6)
        curve = (x * (rate * (1 - rate))[:, None]).T @ x + ridge + 1e-9 * np.eye(2)
        found = found + np.linalg.solve(curve, x.T @ (wanted - rate) - ridge @ found)
        found = np.clip(found, -8, 8)
    return found


def _gain(answers: _Answers, z: Floats, model: Model, seed: int) -> Estimate:
    """Log probability of held-out answers with times less that with equal times, the mean."""
    fold = np.random.default_rng(seed).integers(_FOLDS, size=len(z))
    intercept, slope = (2.0, 0.0) if model.attends is None else model.attends.tolist()
    # Not Dawid and Skene's, in which nobody guesses: what times say is asked, not guessing.
    choices = ((z, (intercept, slope)), (np.zeros(len(z)), (intercept, 0.0)))
    gain = np.empty(len(z))
    for k in range(_FOLDS):
        out = fold == k
        timed, even = (
            _log_probability(fit(answers.only(~out), v[~out], start), answers.only(out), v[out])
            for v, start in choices
        )
        gain[out] = timed - even
    sums = WorkerSums()
    sums.add(mean_of(gain), answers.worker)
    return sums.estimate(draw_workers(answers.num_workers, seed=seed), null=0.0)


def _log_probability(model: Model, answers: _Answers, z: Floats) -> Floats:
    rate = np.ones(len(z)) if model.attends is None else _sigmoid(model.attends, z)
    meant = (model.truth[answers.task] * model.tables[answers.worker, :, answers.label]).sum(axis=1)
    return np.asarray(np.log(rate * meant + (1 - rate) * model.guess[answers.label]))
