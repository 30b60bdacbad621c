"""[I/O] What every request meets: who is answered, how much, and what is said when it fails.

What is logged of a request, one JSON line each, is its route, status and time: no address, token,
or value of anybody.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from luab_data.collect.people import Refused
from luab_data.collect.store import now_ms
from luab_data.collect.wire import MOST_BYTES
from luab_data.errors import OutputError

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
SLOWEST_BODY_S = 30.0
"""Until a request has arrived."""
_MTURK = "https://*.mturk.com"


_MOST_KNOWN = 20_000


class Wrong(Exception):
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
            raise Wrong(429, "Too much at once; try again later.", **{"Retry-After": seconds})


Handler = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger(__name__)


def guarded(handler: Handler) -> Handler:
    """Refuse what is too large or from elsewhere; say in a sentence what is wrong, never more."""

    async def answer(request: Request) -> Response:
        begun, more = time.perf_counter(), {}
        try:
            if request.method == "POST":
                _check_origin(request)
            response = await handler(request)
        except Wrong as wrong:
            response = JSONResponse({"error": wrong.reason}, wrong.status, wrong.headers)
        except Refused as refused:
            response = JSONResponse({"error": str(refused), "refused": True}, 403)
        except OutputError as error:
            more = {"error": str(error)}
            response = JSONResponse({"error": "This cannot be saved or read at the moment."}, 503)
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
        raise Wrong(403, "This request is not from a page of this study.")


async def read(request: Request, type: Any) -> Any:
    """The body of a request as a struct."""
    body = b""
    try:
        async with asyncio.timeout(SLOWEST_BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise Wrong(413, "This request is too large.")
    except TimeoutError:
        raise Wrong(408, "This request took too long to arrive.") from None
    return decode(msgspec.json.Decoder(type), body)


def decode(decoder: msgspec.json.Decoder[Any], body: bytes | msgspec.Raw) -> Any:
    """JSON as a decoder has it, or a refusal that says why."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Wrong(400, f"This request makes no sense: {error}") from None


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
