"""What a participant's page sends: JSON as msgspec reads it, refused where it is something else."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from luab_data.views.log import Pointer

MOST_BYTES = 1_000_000
"""Of a request; a batch of two seconds has some 20,000."""
MOST_EVENTS = 5_000
"""Of a batch."""


class Body(Struct, forbid_unknown_fields=True):
    """A JSON body; `token` where a header cannot be sent (sendBeacon)."""

    token: str = ""


class Joining(Body, forbid_unknown_fields=True):
    """Somebody consents; `query` is the address they came by."""

    consent: bool = False
    query: dict[str, Annotated[str, Meta(max_length=500)]] = {}


class Events(Body, forbid_unknown_fields=True):
    """A batch: the client's number of it, and what happened, in order: a list of Happened."""

    sequence: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    events: msgspec.Raw = msgspec.Raw(b"[]")


_FAR = 1_000_000  # px; ms times a million is thirty years
Along = Annotated[float, Meta(ge=-_FAR, le=_FAR)]
Pixels = Annotated[float, Meta(ge=0, le=_FAR)]
Milliseconds = Annotated[float, Meta(ge=-_FAR * _FAR, le=_FAR * _FAR)]
"""Narrower than a log's: nobody's page is to end the export of all."""
Word = Annotated[str, Meta(max_length=200)]
Place = Annotated[int, Meta(ge=0, le=10_000)]


class Happened(Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """One event: when, on which page, what; where on the page, px, and on the picture `slot`."""

    t: Milliseconds
    page: Place
    type: Word
    slot: Place | None = None
    x: float | None = None
    y: float | None = None
    fx: float | None = None
    fy: float | None = None
    label: Word | None = None
    state: bool | None = None
    pointer: Pointer | Literal[""] | None = None
    start: tuple[float, float] | None = None
    layout: Annotated[list[tuple[Along, Along, Pixels, Pixels]], Meta(max_length=10_000)] | None = (
        None
    )
    viewport: tuple[Pixels, Pixels] | None = None
    ratio: Pixels | None = None
    scroll: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.layout is not None and (self.viewport is None or self.ratio is None):
            raise ValueError("a layout has its viewport and ratio")


EVENTS = msgspec.json.Decoder(Annotated[list[Happened], Meta(max_length=MOST_EVENTS)])


class Given(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What somebody answered: slots that they selected, or classes that they placed."""

    selected: Annotated[list[Place], Meta(max_length=10_000)] | None = None
    labels: Annotated[list[Word], Meta(max_length=10_000)] = []
    nothing: bool = False  # of this is in the picture
    unsure: bool = False
    failed: Annotated[list[Place], Meta(max_length=10_000)] = []  # slots that could not be loaded


class Answer(Body, forbid_unknown_fields=True):
    """The answer to a page, and how many batches were before it."""

    page: Annotated[int, Meta(ge=0, le=10_000)] = 0
    batches: Annotated[int, Meta(ge=0)] = 0
    answer: Given = msgspec.field(default_factory=Given)
