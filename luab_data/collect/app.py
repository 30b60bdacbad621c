"""[I/O] What participants reach of a study: pages, pictures, and where events go.

Every answer is JSON, a page of ours or a picture that was encoded anew. A request is of a session
by its token alone; one that changes anything must come from our own page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from luab_data.collect import store as db
from luab_data.collect.entry import arrive, leave
from luab_data.collect.people import People, Refused, Session
from luab_data.collect.pictures import Picture, Thumbnails
from luab_data.collect.store import now_ms
from luab_data.collect.wire import EVENTS, MOST_BYTES, Answer, Body, Events, Joining
from luab_data.errors import ImagesError, OutputError

PAGES = Path(__file__).with_name("pages")
_MOST_KNOWN = 20_000

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self';"
    " script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
    "{forms}; frame-ancestors {frames}",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MTURK = "https://*.mturk.com"


class _Wrong(Exception):
    """A request that cannot be answered: status, and a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


Handler = Callable[[Request], Awaitable[Response]]


def _guarded(handler: Handler) -> Handler:
    """Refuse what is too large or from elsewhere; say in a sentence what is wrong, never more."""

    async def answer(request: Request) -> Response:
        try:
            if request.method == "POST":
                _check_origin(request)
            return await handler(request)
        except _Wrong as wrong:
            return JSONResponse({"error": wrong.reason}, wrong.status)
        except Refused as refused:
            return JSONResponse({"error": str(refused), "refused": True}, 403)
        except OutputError:
            return JSONResponse({"error": "This cannot be saved at the moment."}, 503)

    return answer


def _check_origin(request: Request) -> None:
    origin = request.headers.get("origin")
    if origin and origin.partition("://")[2] != request.headers.get("host"):
        raise _Wrong(403, "This request is not from a page of this study.")


async def _read(request: Request, type: Any) -> Any:
    """The body of a request as a struct."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise _Wrong(413, "This request is too large.")
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
        self._insert = people.store.insert_new(db.batches)
        self._labels = {label.name for label in people.study.classes}
        self._known: dict[str, int] = {}  # token -> session, of those that send events

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
        return JSONResponse({"title": study.title, "task": study.task, "consent": study.consent})

    async def join(self, request: Request) -> Response:
        """Begin a session, or go on with it."""
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
        row = {
            "session": number,
            "sequence": batch.sequence,
            "received_ms": now_ms(),
            "events": bytes(batch.events).decode(),
        }
        try:
            await self._people.store.write(self._insert, row)
        except OutputError:
            self._known.pop(token, None)  # perhaps they have withdrawn
            await self._session(request, batch.token)
            raise
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


def make_app(routes: list[Route], *, in_frames: bool = False) -> Starlette:
    """The application with its headers.

    Args:
        routes: of all that is served.
        in_frames: whether MTurk may show it in its pages.
    """
    app = Starlette(routes=routes)
    policy = HEADERS["Content-Security-Policy"].format(
        forms=f" {_MTURK}" if in_frames else "", frames=_MTURK if in_frames else "'none'"
    )
    headers = [
        (name.lower().encode(), value.encode())
        for name, value in {**HEADERS, "Content-Security-Policy": policy}.items()
    ]

    async def with_headers(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await app(scope, receive, sending if scope["type"] == "http" else send)

    return with_headers  # type: ignore[return-value]
