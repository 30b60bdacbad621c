"""What a session's answers amount to, and what the study's rules suggest about it: pure."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from luab_data.collect.plan import Task
from luab_data.collect.study import Acceptance

Decision = Literal["accept", "reject", "look", "wait"]


class Answered(NamedTuple):
    """The answer to a page: its number, when it was here (epoch ms), and its JSON."""

    page: int
    received_ms: int
    answer: str


class _Selection(Struct):
    """What of an answer counts; it comes from a browser and may be anything."""

    selected: list[int] = []
    failed: list[int] = []


class Work(Struct, frozen=True, kw_only=True):
    """What a session amounts to.

    Args:
        num_pages, answered: pages of the session, and those that are answered.
        seconds: median of a page, from the answer before (or the beginning) to its own; None before
            the first answer.
        known, found: pictures on answered pages that are known to be of the class and were to be
            seen, and those of them that were selected.
        failed: pictures that could not be loaded.
    """

    num_pages: int
    answered: int
    seconds: float | None
    known: int
    found: int
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
    known = found = failed = 0
    before = begun_ms
    for answered in sorted(a for a in answers if a.page < len(task.pages)):
        seconds.append((answered.received_ms - before) / 1000)
        before = answered.received_ms
        given = _selection(answered.answer)
        unseen = {*given.failed}
        slots = task.pages[answered.page].slots
        positives = {k for k, slot in enumerate(slots) if slot.known and k not in unseen}
        known += len(positives)
        found += len(positives & {*given.selected})
        failed += len(unseen & {*range(len(slots))})
    return Work(
        num_pages=len(task.pages),
        answered=len(seconds),
        seconds=median(seconds) if seconds else None,
        known=known,
        found=found,
        failed=failed,
    )


def _selection(answer: str) -> _Selection:
    try:
        return msgspec.json.decode(answer, type=_Selection)
    except msgspec.DecodeError:
        return _Selection()


def suggest(rules: Acceptance, task: Task, work: Work) -> Suggestion:
    """What the rules suggest about a session.

    Args:
        rules: of the study.
        task: what was asked.
        work: of the session.

    Returns: `accept` or `reject` by the first rule that is not kept; `look` where the rule of
        recall cannot be asked, because no known picture was to be seen; `wait` before the end.
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
    if work.recall is None and any(slot.known for page in task.pages for slot in page.slots):
        return Suggestion("look", "none of the known pictures could be loaded")
    return Suggestion("accept", ", ".join([*said, f"{seconds:.1f} s a page"]))
