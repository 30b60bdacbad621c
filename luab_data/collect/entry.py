"""How people come to a study and how they leave it: openly, by invitation, from a platform.

Sources: MTurk's ExternalQuestion (docs.aws.amazon.com, AWSMturkAPI, ApiReference_ExternalQuestion
Article): the parameters, the value of a preview, the form at the end; Prolific's help pages on URL
parameters and completion links.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from luab_data.collect.people import Refused
from luab_data.collect.study import Entry

PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"
_MTURK = re.compile(r"https://(?:www|worker|workersandbox)\.mturk\.com(?=/?\Z)").match
_PROLIFIC = "https://app.prolific.com/submissions/complete?cc="
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch


class Arrival(NamedTuple):
    """Somebody at the door.

    Args:
        platform: that they come from.
        who: their id there; None for nobody known.
        entry: what the end of the session needs.
    """

    platform: str
    who: str | None
    entry: dict[str, str]


def arrive(study: Entry, query: Mapping[str, str], secret: bytes) -> Arrival:
    """Who comes, by the parameters of the address.

    Args:
        study: says which ways are open.
        query: the parameters.
        secret: of the study, by which invitations are signed.

    Raises:
        Refused: no way that is open, or a preview.
    """
    for kind in study.kinds:
        if found := _ARRIVALS[kind](query, secret):
            return found
    ways = {"mturk": "from its HIT on MTurk", "prolific": "from Prolific", "link": "by your link"}
    known = " or ".join(ways[kind] for kind in study.kinds if kind in ways)
    raise Refused(f"Please open this study {known}: this address lacks what it needs.")


def _mturk(query: Mapping[str, str], secret: bytes) -> Arrival | None:
    assignment, worker = query.get("assignmentId", ""), query.get("workerId", "")
    if assignment == PREVIEW:
        raise Refused("This is a preview. Accept the HIT to begin.")
    site = _MTURK(query.get("turkSubmitTo", ""))
    if not (_ID(assignment) and _ID(worker) and site):
        return None
    form = f"{site.group()}/mturk/externalSubmit"
    return Arrival("mturk", worker, {"form": form, "assignmentId": assignment})


def _prolific(query: Mapping[str, str], secret: bytes) -> Arrival | None:
    person, visit = query.get("PROLIFIC_PID", ""), query.get("SESSION_ID", "")
    hashed = hmac.digest(secret, f"submission/{visit}".encode(), "sha256").hex()[:32]
    entry = {"prolific": "1", **({"submission": hashed} if visit else {})}
    return Arrival("prolific", person, entry) if _ID(person) else None


def _link(query: Mapping[str, str], secret: bytes) -> Arrival | None:
    invitation = query.get("invite", "")
    number = invitation.partition("-")[0]
    if not (number.isdecimal() and number.isascii() and len(number) < 10):
        return None
    is_ours = hmac.compare_digest(
        invitation_of(secret, int(number)).encode(), invitation.encode("utf-8", "replace")
    )
    return Arrival("link", number, {}) if is_ours else None


def _open(query: Mapping[str, str], secret: bytes) -> Arrival | None:
    return Arrival("open", None, {})


_ARRIVALS: Mapping[str, Callable[[Mapping[str, str], bytes], Arrival | None]] = {
    "mturk": _mturk,
    "prolific": _prolific,
    "link": _link,
    "open": _open,
}


def invitation_of(secret: bytes, number: int) -> str:
    """The invitation of a number: `luab-data collect invite` prints `?invite=` with it."""
    return f"{number}-{hmac.digest(secret, f'invite/{number}'.encode(), 'sha256').hex()[:16]}"


def leave(study: Entry, entry: Mapping[str, str], code: str) -> dict[str, Any] | None:
    """How somebody leaves: a form to post, or a link to follow; None: with the code alone.

    Args:
        study: of the study.
        entry: of Arrival.
        code: completion code.
    """
    if "form" in entry:
        fields = {"assignmentId": entry["assignmentId"], "code": code}
        return {"form": entry["form"], "fields": fields}
    return _to_prolific(entry, study.prolific_completion)


def leave_unused(study: Entry, entry: Mapping[str, str]) -> dict[str, Any] | None:
    """How somebody leaves for whom there is nothing: the screen-out link, of Prolific alone."""
    return _to_prolific(entry, study.prolific_screen_out)


def _to_prolific(entry: Mapping[str, str], code: str) -> dict[str, Any] | None:
    if "prolific" in entry and code:
        return {"link": f"{_PROLIFIC}{quote(code, safe='')}"}
    return None
