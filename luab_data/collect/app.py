"""[I/O] What participants reach of a study: pages, pictures, and where events go.

Every answer is JSON, a page of ours or a picture that was encoded anew. A request is of a session
by its token alone; one that changes anything must come from our own page. What is logged of a
request, one JSON line each, is its route, status and time: no address, token, or value of anybody.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from luab_data.collect.entry import arrive, leave
from luab_data.collect.people import People, Refused, Session
from luab_data.collect.pictures import Picture, Thumbnails
from luab_data.collect.store import Ended, now_ms
from luab_data.collect.wire import EVENTS, MOST_BYTES, Answer, Body, Events, Joining
from luab_data.errors import ImagesError, OutputError

PAGES = Path(__file__).with_name("pages")
_MOST_KNOWN = 20_000

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self';"
    " script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
    "{forms}; frame-ancestors {frames}",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none, browsers send beacons with `Origin: null`
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
JOINS = (5.0, 300.0)
"""Of an address: a second, and at once; a class of students has one address."""
BYTES = (500_000.0, 20_000_000.0)
"""Of a session's events: a second, and at once; a hurried hand makes 30,000 a second."""
SLOWEST_BODY_S = 30.0
"""Until a request has arrived."""
_MTURK = "https://*.mturk.com"


class _Wrong(Exception):
    """A request that cannot be answered: status, a sentence, and headers of the answer."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers


class Budget:
    """What each of many may spend: a bucket that fills by `rate` a second up to `most`.

    Args:
        rate, most: in what is counted.
    """

    def __init__(self, rate: float, most: float) -> None:
        self._rate, self._most = rate, most
        self._left: dict[object, tuple[float, float]] = {}  # who -> what was left, and when

    def spend(self, who: object, cost: float) -> None:
        """Take `cost`, or refuse with the seconds until it may be asked again (429)."""
        now = time.monotonic()
        left, since = self._left.pop(who, (self._most, now))
        left = min(self._most, left + self._rate * (now - since))
        if len(self._left) >= _MOST_KNOWN:  # the longest silent one
            del self._left[next(iter(self._left))]
        self._left[who] = left - cost * (left >= cost), now
        if left < cost:
            seconds = str(int((cost - left) / self._rate) + 1)
            raise _Wrong(429, "Too much at once; try again later.", **{"Retry-After": seconds})


Handler = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger(__name__)


def _guarded(handler: Handler) -> Handler:
    """Refuse what is too large or from elsewhere; say in a sentence what is wrong, never more."""

    async def answer(request: Request) -> Response:
        begun, more = time.perf_counter(), {}
        try:
            if request.method == "POST":
                _check_origin(request)
            response = await handler(request)
        except _Wrong as wrong:
            response = JSONResponse({"error": wrong.reason}, wrong.status, wrong.headers)
        except Refused as refused:
            response = JSONResponse({"error": str(refused), "refused": True}, 403)
        except OutputError as error:
            more = {"error": str(error)}
            response = JSONResponse({"error": "This cannot be saved at the moment."}, 503)
        except Exception as error:  # of ours: whoever asks learns a number to tell us, no more
            more = {
                "error": type(error).__name__,
                "at": _place_of(error),
                "id": secrets.token_hex(4),
            }
            said = f"Something went wrong here. It is noted as {more['id']}."
            response = JSONResponse({"error": said}, 500)
        about = {"route": request.scope["route"].path, "status": response.status_code}
        level = logging.ERROR if response.status_code >= 500 else logging.INFO
        if _log.isEnabledFor(level):
            spent = round(1000 * (time.perf_counter() - begun), 1)
            line = {"epoch_ms": now_ms(), "method": request.method, **about, "ms": spent, **more}
            _log.log(level, "%s", msgspec.json.encode(line).decode())
        return response

    return answer


def _place_of(error: Exception) -> str:
    """File and line that an error is from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    return f"{Path(code.co_filename).name}:{trace.tb_lineno}" if code and trace else ""


def _check_origin(request: Request) -> None:
    origin = request.headers.get("origin", "")  # browsers send it with every POST
    if origin.partition("://")[2] != request.headers.get("host"):
        raise _Wrong(403, "This request is not from a page of this study.")


async def _read(request: Request, type: Any) -> Any:
    """The body of a request as a struct."""
    body = b""
    try:
        async with asyncio.timeout(SLOWEST_BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise _Wrong(413, "This request is too large.")
    except TimeoutError:
        raise _Wrong(408, "This request took too long to arrive.") from None
    return _decode(msgspec.json.Decoder(type), body)


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes | msgspec.Raw) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Wrong(400, f"This request makes no sense: {error}") from None


def _token(request: Request, token: str) -> str:
    """The token of a request: of its header, else of its body."""
    return request.headers.get("authorization", "").removeprefix("Bearer ") or token


class Participants:
    """The routes of participants.

    Args:
        people: who takes part.
        pictures: by key.
        thumbnails: what is served of them.
    """

    def __init__(
        self, people: People, pictures: dict[str, Picture], thumbnails: Thumbnails
    ) -> None:
        self._people, self._pictures, self._thumbnails = people, pictures, thumbnails
        self._labels = {label.name for label in people.study.classes}
        self._known: dict[str, int] = {}  # token -> session, of those that send events
        self._joins, self._bytes = Budget(*JOINS), Budget(*BYTES)

    def routes(self) -> list[Route]:
        """All of them."""
        post = partial(Route, methods=["POST"])
        return [
            Route("/", _guarded(self.index)),
            Route("/static/{name}", _guarded(self.static)),
            Route("/picture/{key}", _guarded(self.picture)),
            Route("/api/study", _guarded(self.study)),
            Route("/api/state", _guarded(self.state)),
            post("/api/join", _guarded(self.join)),
            post("/api/events", _guarded(self.events)),
            post("/api/page", _guarded(self.page)),
            post("/api/withdraw", _guarded(self.withdraw)),
        ]

    async def index(self, request: Request) -> Response:
        """The page that everything happens on."""
        return FileResponse(PAGES / "index.html", headers={"Cache-Control": "no-cache"})

    async def static(self, request: Request) -> Response:
        """A script or a style sheet."""
        path = PAGES / request.path_params["name"]
        if path.suffix not in (".js", ".css") or path.parent != PAGES or not path.is_file():
            raise _Wrong(404, "There is no such file.")
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    async def picture(self, request: Request) -> Response:
        """A picture, at least as wide as `w`."""
        width = request.query_params.get("w", "648")
        if not (width.isdecimal() and width.isascii() and len(width) < 6):
            raise _Wrong(400, "w is no width.")
        key = request.path_params["key"]
        try:
            found = await run_in_threadpool(self._thumbnails.get, key, int(width))
        except ImagesError:
            raise _Wrong(502, "This picture cannot be read.") from None
        if found is None:
            raise _Wrong(404, "There is no such picture.")
        body, kind = found
        return Response(body, media_type=kind, headers={"Cache-Control": "private, max-age=86400"})

    async def study(self, request: Request) -> Response:
        """What is said before somebody consents."""
        study = self._people.study
        closed = await run_in_threadpool(self._people.closed)
        return JSONResponse({"title": study.title, "consent": study.consent, "closed": closed})

    async def join(self, request: Request) -> Response:
        """Begin a session, or go on with it."""
        self._joins.spend(request.client.host if request.client else "", 1)
        joining: Joining = await _read(request, Joining)
        if not joining.consent:
            raise _Wrong(400, "Without consent nobody takes part.")
        people = self._people
        arrival = arrive(people.study.entry, joining.query, people.secret)
        token = await people.join(arrival.platform, arrival.who, arrival.entry)
        return JSONResponse({"token": token})

    async def _session(self, request: Request, token: str = "") -> Session:
        """The session of a request."""
        given = _token(request, token)
        found = await run_in_threadpool(self._people.session, given) if given else None
        if found is None:
            raise _Wrong(401, "This session is not known; open the study again.")
        return found

    async def state(self, request: Request) -> Response:
        """All that the page has to know, from the start or after a reload."""
        return JSONResponse(await run_in_threadpool(self._state, await self._session(request)))

    def _state(self, session: Session) -> dict[str, Any]:
        people, study = self._people, self._people.study
        number = people.num_answered(session)
        state: dict[str, Any] = {
            "title": study.title,
            "task": study.task,
            "options": msgspec.to_builtins(study.options_of(session.arm)),
            "columns": study.grid.columns,
            "page": number,
            "num_pages": len(session.task.pages),
            "next_sequence": people.next_sequence(session),
            "begun_ms": session.begun_ms,
            "server_ms": now_ms(),
        }
        if number >= len(session.task.pages):
            code = people.code(session)
            way = leave(study.entry, session.entry, code)
            return {**state, "finished": True, "code": code, "leave": way}
        page = session.task.pages[number]
        labels = {label.name: label for label in study.classes}
        state["classes"] = [msgspec.to_builtins(label) for label in study.classes]
        if page.label is not None:
            state["class"] = msgspec.to_builtins(labels[page.label])
        state["slots"] = [
            {
                "slot": place,
                "picture": slot.picture,
                "width": self._pictures[slot.picture].width,
                "height": self._pictures[slot.picture].height,
            }
            for place, slot in enumerate(page.slots)
        ]
        state["events"] = [
            event
            for batch in people.events(session)
            for event in batch
            if event.get("page") == number and event.get("type") in _STATEFUL
        ]
        return state

    async def events(self, request: Request) -> Response:
        """Keep a batch, once, whoever sends it how often; acknowledged when it is on the disk."""
        batch: Events = await _read(request, Events)
        for event in _decode(EVENTS, batch.events):
            if event.type in _PLACED and (event.slot is None or event.label not in self._labels):
                raise _Wrong(400, f"This request makes no sense: {event.type} of no class.")
        token = _token(request, batch.token)
        number = self._known.get(token) or (await self._session(request, batch.token)).id
        self._bytes.spend(number, len(batch.events))
        row = {
            "session": number,
            "sequence": batch.sequence,
            "received_ms": now_ms(),
            "events": bytes(batch.events).decode(),
        }
        try:
            await self._people.store.write_events(row)
        except Ended:
            self._known.pop(token, None)
            session = await self._session(request, batch.token)  # perhaps they have withdrawn
            if batch.sequence >= await run_in_threadpool(self._people.next_sequence, session):
                raise _Wrong(410, "This session has ended: nothing more is kept of it.") from None
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known[token] = number
        return JSONResponse({"acknowledged": batch.sequence, "server_ms": now_ms()})

    async def page(self, request: Request) -> Response:
        """Keep the answer to a page, once, after all of its events."""
        answer: Answer = await _read(request, Answer)
        session = await self._session(request, answer.token)
        number = await run_in_threadpool(self._people.num_answered, session)
        if answer.page > number:
            raise _Wrong(409, "The page before is not answered yet.")
        have = await run_in_threadpool(self._people.next_sequence, session)
        if have < answer.batches:
            raise _Wrong(409, "Events of this page have not arrived yet.")
        if answer.page == number:
            body = msgspec.json.encode(answer.answer)
            await self._people.answer(session, answer.page, body)
        return JSONResponse(await run_in_threadpool(self._state, session))

    async def withdraw(self, request: Request) -> Response:
        """Delete all of a participant."""
        body: Body = await _read(request, Body)
        await self._people.withdraw(await self._session(request, body.token))
        self._known.clear()
        return JSONResponse({"withdrawn": True})


_PLACED = ("add", "move-label", "remove")
_STATEFUL = ("click", *_PLACED)
"""Events that a page looks otherwise after."""


LOOPBACK = ("127.0.0.1", "localhost")


def make_app(
    routes: list[Route],
    *,
    in_frames: bool = False,
    hosts: Sequence[str] = LOOPBACK,
    is_secure: bool = False,
) -> Starlette:
    """The application with its headers.

    Args:
        routes: of all that is served.
        in_frames: whether MTurk may show it in its pages.
        hosts: names that it is asked for by; others are refused, so that no site's own name may be
            led to this machine.
        is_secure: whether browsers reach it by TLS alone.
    """
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False)
    app = Starlette(routes=routes, middleware=[trusted])
    policy = HEADERS["Content-Security-Policy"].format(
        forms=f" {_MTURK}" if in_frames else "", frames=_MTURK if in_frames else "'none'"
    )
    headers = [
        (name.lower().encode(), value.encode())
        for name, value in {
            **HEADERS,
            "Content-Security-Policy": policy,
            **({"Strict-Transport-Security": "max-age=31536000"} if is_secure else {}),
        }.items()
    ]

    async def with_headers(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await app(scope, receive, sending if scope["type"] == "http" else send)

    return with_headers  # type: ignore[return-value]
