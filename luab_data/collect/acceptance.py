"""What a session's answers amount to, and what the study's rules suggest about it: pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from luab_data.collect.plan import Task
from luab_data.collect.study import Acceptance
from luab_data.collect.wire import Given

Decision = Literal["accept", "reject", "look", "wait"]


class Answered(NamedTuple):
    """The answer to a page: its number, when it was here (epoch ms), and its JSON."""

    page: int
    received_ms: int
    answer: str


class Work(Struct, frozen=True, kw_only=True):
    """What a session amounts to.

    Args:
        num_pages, answered: pages of the session, and those that are answered.
        seconds: median of a page, from the answer before (or the beginning) to its own; None before
            the first answer.
        known, found: pictures on answered pages that are known to be of the class and were to be
            seen, and those of them that were selected.
        lost, failed: those known to be of the class that the browser could not load, and all that
            it could not.
    """

    num_pages: int
    answered: int
    seconds: float | None
    known: int
    found: int
    lost: int
    failed: int

    @property
    def recall(self) -> float | None:
        """Share of the known pictures that were selected; None where there were none."""
        return self.found / self.known if self.known else None


class Suggestion(NamedTuple):
    """What to do about a session, and why, in a sentence."""

    decision: Decision
    reason: str


def work_of(task: Task, begun_ms: int, answers: Iterable[Answered]) -> Work:
    """What the answers to a task's pages amount to.

    Args:
        task: what was asked.
        begun_ms: when the session began, epoch ms.
        answers: in any order, at most one a page.
    """
    seconds: list[float] = []
    known = found = lost = failed = 0
    before = begun_ms
    for answered in sorted(answers):
        seconds.append((answered.received_ms - before) / 1000)
        before = answered.received_ms
        given = msgspec.json.decode(answered.answer, type=Given)
        unseen = {*given.failed}
        slots = task.pages[answered.page].slots
        positives = {k for k, slot in enumerate(slots) if slot.known}
        known += len(positives - unseen)
        lost += len(positives & unseen)
        found += len((positives - unseen) & {*(given.selected or ())})
        failed += len(unseen & {*range(len(slots))})
    return Work(
        num_pages=len(task.pages),
        answered=len(seconds),
        seconds=median(seconds) if seconds else None,
        known=known,
        found=found,
        lost=lost,
        failed=failed,
    )


def bonus_of(rules: Acceptance, work: Work, suggestion: Suggestion) -> float:
    """The bonus that makes the reward of a session `usd_an_hour`, USD in whole cents, rounded up.

    The time is the median page's, for all pages: a page left open over lunch is no work.
    """
    if suggestion.decision not in ("accept", "look") or work.seconds is None:
        return 0.0
    hours = work.seconds * work.num_pages / 3600
    cents = round(100 * (rules.usd_an_hour * hours - rules.reward_usd), 6)
    return max(0, math.ceil(cents)) / 100


def suggest(rules: Acceptance, work: Work) -> Suggestion:
    """What the rules suggest about a session.

    Args:
        rules: of the study.
        work: of the session.

    Returns: `accept` or `reject` by the first rule that is not kept; `look` where recall is
        kept only if pictures that the browser says it could not load do not count; `wait` before
        the end.
    """
    if work.answered < work.num_pages:
        return Suggestion("wait", f"{work.answered} of {work.num_pages} pages are answered")
    said = []
    if work.recall is not None:
        found = f"{work.found} of {work.known} known pictures selected"
        if work.recall < rules.min_recall:
            return Suggestion(
                "reject", f"{found}; expected {100 * rules.min_recall:.0f} % at least"
            )
        said.append(found)
    seconds = work.seconds or 0.0
    if seconds < rules.min_seconds_a_page:
        least = f"{rules.min_seconds_a_page:.1f} s at least"
        return Suggestion("reject", f"{seconds:.1f} s a page; expected {least}")
    if work.found < rules.min_recall * (work.known + work.lost):
        lost = f"{work.lost} known pictures are said not to have loaded"
        return Suggestion("look", ", ".join([*said, lost]))
    return Suggestion("accept", ", ".join([*said, f"{seconds:.1f} s a page"]))
