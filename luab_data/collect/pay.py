"""[I/O] What sessions amount to, what the researcher decided about them, and what is to be paid.

The study knows nobody by their id, so platforms' own lists of results say who is to be paid: their
assignments, or the hashes of their ids, are looked for in the study.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa

from luab_data.collect import tables as db
from luab_data.collect.acceptance import Answered, Work, bonus_of, suggest, work_of
from luab_data.collect.serve import Opened
from luab_data.collect.store import now_ms
from luab_data.errors import OptionError
from luab_data.files import new_file

Decision = Literal["accept", "reject"]


def decide(
    connection: sa.Connection, *, bonuses: Mapping[int, float], decision: Decision, reason: str
) -> None:
    """Record a decision; those before it stay, and the last one counts.

    Args:
        connection: of a transaction.
        bonuses: session -> USD, of those that are decided about.
        decision: what; reason: why, in the researcher's words.
    """
    at_ms = now_ms()
    rows = [
        {"session": session, "at_ms": at_ms, "decision": decision, "bonus_usd": bonus,
         "reason": reason}
        for session, bonus in bonuses.items()
    ]  # fmt: skip
    told = [
        {"at_ms": at_ms, "act": decision,
         "about": ", ".join(filter(None, (
             f"session {session}", f"{bonus:.2f} USD of bonus" if bonus else "", reason)))}
        for session, bonus in bonuses.items()
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(db.decisions), rows)
        connection.execute(sa.insert(db.audit), told)


class Row(Work, frozen=True, kw_only=True):
    """A session, and what it amounts to.

    Args:
        person: beginning of the keyed hash.
        suggestion, reason: of the rules; `bonus_usd` with it, and once decided that of `decision`.
        decision, decided_because: the researcher's, or None.
    """

    session: int
    person: str
    arm: str | None
    code: str | None
    begun_ms: int
    suggestion: str
    reason: str
    bonus_usd: float
    decision: str | None
    decided_because: str | None


class _Person(NamedTuple):
    """Of a session, what no page is told: who, by the whole hash; MTurk's assignment, or empty."""

    who: str
    platform: str
    assignment_id: str


def rows_of(study: Opened) -> Iterator[Row]:
    """Every session, the latest first."""
    return (row for row, _ in _rows_and_people(study))


def _rows_and_people(study: Opened) -> Iterator[tuple[Row, _Person]]:
    one, person = db.sessions.c, db.participants.c
    with study.store.reading(snapshot=True) as connection:
        rows = connection.execute(
            sa.select(
                *(one.id, one.task, one.begun_ms, one.code, one.entry),
                *(person.person, person.arm, person.entry.label("platform")),
            )
            .join(db.participants)
            .order_by(one.id.desc())
        ).all()
        answers: dict[int, list[Answered]] = {row.id: [] for row in rows}
        for answer in connection.execute(sa.select(db.answers)):
            answers[answer.session].append(Answered(answer.page, answer.received_ms, answer.answer))
        last = connection.execute(sa.select(db.decisions).order_by(db.decisions.c.id))
        decided = {row.session: row for row in last}
    rules = study.study.acceptance
    for row in rows:
        work = work_of(study.people.tasks[row.task], row.begun_ms, answers[row.id])
        suggestion, told = suggest(rules, work), decided.get(row.id)
        assignment_id = msgspec.json.decode(row.entry).get("assignmentId", "")
        yield (
            Row(
                session=row.id,
                person=row.person[:8],
                arm=row.arm,
                code=row.code,
                begun_ms=row.begun_ms,
                **msgspec.structs.asdict(work),
                suggestion=suggestion.decision,
                reason=suggestion.reason,
                bonus_usd=told.bonus_usd if told else bonus_of(rules, work, suggestion),
                decision=told.decision if told else None,
                decided_because=told.reason if told else None,
            ),
            _Person(row.person, row.platform, assignment_id),
        )


# --- files ---------------------------------------------------------------------------------------


class Pay(NamedTuple):
    """What `luab-data collect pay` wrote.

    Args:
        accepted, rejected: sessions; undecided: finished ones without a decision.
        reward_usd, bonus_usd: of those accepted.
        unknown: lines of the platform's list that are of no session of the study.
    """

    accepted: int
    rejected: int
    undecided: int
    reward_usd: float
    bonus_usd: float
    unknown: int = 0


PLAIN = ("session", "platform", "code", "assignment_id", "decision", "reward_usd", "bonus_usd",
         "reason")  # fmt: skip


def pay(
    study: Opened,
    out: Path,
    *,
    results: Path | None = None,
    bonuses: Path | None = None,
    force: bool = False,
) -> Pay:
    """Write what is to be paid, and to whom, as far as the study or a platform's list knows.

    Args:
        study: open.
        out: a CSV file: a line a finished session; with `results` the lines of that list, MTurk's
            with `Approve` and `Reject` filled in as its page takes them.
        results: what the platform gives to download: MTurk's results of a batch, Prolific's export.
        bonuses: a second file for those who get one: WorkerId, AssignmentId, BonusAmount, Reason of
            MTurk; `id,amount` without a header of Prolific, as its page for bonuses takes it.
        force: replace earlier files.

    Raises:
        OptionError: not such a list, or of nobody in this study. OutputError: of the files.
    """
    owed = _owed(study)
    lines: _Lines
    rewards: _Lines = ()
    unknown = 0
    if results is None:
        if bonuses is not None:
            raise OptionError("bonuses are of people, whom only the platform's list of results"
                              " names: give it with --results")  # fmt: skip
        lines = [PLAIN, *([_cell(one[name]) for name in PLAIN] for one in owed)]
    else:
        lines, rewards, unknown = _of_platform(study, owed, results)
    with ExitStack() as stack:
        for path, rows in ((out, lines), (bonuses, rewards)):
            if path is not None:
                mark = ",".join(rows[0]).encode() if rows and path == out else None
                target = stack.enter_context(new_file(path, mark=mark, force=force))
                with target.path.open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows(rows)
    accepted = [one for one in owed if one["decision"] == "accept"]
    rejected = sum(one["decision"] == "reject" for one in owed)
    return Pay(
        len(accepted),
        rejected,
        len(owed) - len(accepted) - rejected,
        sum(one["reward_usd"] for one in accepted),
        sum(one["bonus_usd"] for one in accepted),
        unknown,
    )


def _owed(study: Opened) -> list[dict[str, Any]]:
    """What the plain file says of each finished session, by its number, and `who` it is of."""
    reward = study.study.acceptance.reward_usd
    return [
        {
            "session": row.session,
            "platform": person.platform,
            "code": row.code,
            "assignment_id": person.assignment_id,
            "decision": row.decision,
            "reward_usd": reward if row.decision == "accept" else 0.0,
            "bonus_usd": row.bonus_usd if row.decision == "accept" else 0.0,
            "reason": row.decided_because,
            "who": person.who,
        }
        for row, person in sorted(_rows_and_people(study), key=lambda both: both[0].session)
        if row.code
    ]


def _cell(value: Any) -> str:
    """A value as a cell; a text is never a formula of a spreadsheet."""
    if isinstance(value, float):
        return f"{value:.2f}"
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


_Lines = Sequence[Sequence[str]]
"""Of a CSV file."""


def _of_platform(
    study: Opened, owed: Sequence[Mapping[str, Any]], results: Path
) -> tuple[_Lines, _Lines, int]:
    """Lines of the file, of that of bonuses, and how many of the list are of nobody here."""
    try:
        with results.open(encoding="utf-8-sig", newline="") as file:
            found = csv.DictReader(file, strict=True)
            header, given = [*(found.fieldnames or ())], [*found]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{results}: cannot be read as CSV in UTF-8 ({reason})") from error
    if {"AssignmentId", "WorkerId"} <= {*header}:
        by_assignment = {one["assignment_id"]: one for one in owed if one["assignment_id"]}
        rows = [by_assignment.get(line["AssignmentId"]) for line in given]
    elif {"Participant id", "Submission id"} <= {*header}:
        by_person = {one["who"]: one for one in owed}
        if len(by_person) < len(owed):
            raise OptionError(
                f"{results}: people of this study have several sessions, and Prolific pays one; pay"
                " by the plain file, without --results"
            )
        hashed = (study.people.known_as("prolific", line["Participant id"]) for line in given)
        rows = [by_person.get(who) for who in hashed]
    else:
        raise OptionError(
            f"{results}: has the columns {', '.join(header)[:200] or 'of nothing'}; expected"
            " AssignmentId and WorkerId (MTurk's results of a batch), or Submission id and"
            " Participant id (Prolific's export)"
        )
    there = [(line, row) for line, row in zip(given, rows, strict=True) if row is not None]
    if not there:
        raise OptionError(
            f"{results}: none of its {len(given)} lines is of a finished session of this study;"
            " is it the list of another one?"
        )
    paid = [(line, row) for line, row in there if row["bonus_usd"]]
    unknown = len(given) - len(there)
    if "AssignmentId" in header:
        header = list(dict.fromkeys([*header, "Approve", "Reject"]))
        for line, row in there:
            line["Approve"] = "x" if row["decision"] == "accept" else ""
            line["Reject"] = _cell(row["reason"]) if row["decision"] == "reject" else ""
        lines: _Lines = [header, *([line.get(name) or "" for name in header] for line in given)]
        rewards: _Lines = [
            ("WorkerId", "AssignmentId", "BonusAmount", "Reason"),
            *(
                (line["WorkerId"], line["AssignmentId"], _cell(row["bonus_usd"]),
                 _cell(row["reason"] or "Thank you"))
                for line, row in paid
            ),
        ]  # fmt: skip
        return lines, rewards, unknown
    said = [
        (line["Submission id"], _cell(row["decision"]), _cell(row["reason"])) for line, row in there
    ]
    rewards = [(line["Participant id"], _cell(row["bonus_usd"])) for line, row in paid]
    return [("Submission id", "decision", "reason"), *said], rewards, unknown
