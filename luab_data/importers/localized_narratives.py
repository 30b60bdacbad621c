"""[I/O] Localized Narratives (Pont-Tuset et al., ECCV 2020): speak and hover, word by word.

Read as the publisher's page and loader say (google/localized-narratives, index.html and
localized_narratives.py): JSON Lines, one narrative a line; x, y are fractions from the top left,
also somewhat below 0 and above 1; t is in SECONDS since the recording began; each inner list of
`traces` is one stay of the pointer on the picture. Times come as integers too, and a line may have
no trace at all, e.g. line 4414 of the COCO validation file
(https://github.com/google/localized-narratives/issues/10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple, cast

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta, Struct

from luab_data.errors import ArchiveError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import files
from luab_data.importers.points import event_lists
from luab_data.pipeline import in_order, num_threads
from luab_data.ragged import Floats, Ints
from luab_data.raw.packed import float_columns
from luab_data.raw.source import DAMAGE, Source
from luab_data.views import CODE, Reading, views

BATCH_BYTES = 2**22
"""Length of the lines that become one table."""

PROMPT = "Describe the picture with your voice while hovering over the region that you describe."
"""What annotators were asked, by the paper's abstract."""


_Seconds = Annotated[float, Meta(ge=-1e6, le=1e6)]


class _Point(Struct, gc=False, forbid_unknown_fields=True):
    x: float
    y: float
    t: _Seconds


class _Utterance(Struct, gc=False, forbid_unknown_fields=True):
    utterance: str
    start_time: _Seconds
    end_time: _Seconds


class _Narrative(Struct, forbid_unknown_fields=True):
    dataset_id: str
    image_id: str
    annotator_id: int
    caption: str | None = None
    timed_caption: list[_Utterance] | None = None
    traces: list[list[_Point]] | None = None
    voice_recording: str | None = None


_INNER: Mapping[str, Any] = {"timed_caption": _Utterance, "traces": _Point}
_decoder = msgspec.json.Decoder(_Narrative)
_UNKNOWN = "unknown field"  # msgspec's words


def read(
    paths: Sequence[Path],
    unknown: Counter[str],
    on_read: Callable[[int], object],
    /,
    **options: str,
) -> Iterator[Reading]:
    """The narratives of some files: decoded one after the other, laid out by threads meanwhile."""
    yield from in_order(_reading, _decoded(paths, unknown, on_read), num_threads())


class _Decoded(NamedTuple):
    narratives: list[_Narrative]
    names: list[str]
    errors: list[RecordError]


def _reading(decoded: _Decoded) -> Reading:
    return Reading(_table(decoded.narratives), decoded.names, decoded.errors)


def _decoded(
    paths: Sequence[Path], unknown: Counter[str], on_read: Callable[[int], object]
) -> Iterator[_Decoded]:
    for path in files(paths, ".jsonl"):
        with Source(path, on_read, hashed=False) as source:
            yield from _batches(source, source.content(), unknown)


def _batches(source: Source, lines: IO[bytes], unknown: Counter[str]) -> Iterator[_Decoded]:
    first = 1
    while some := _some_lines(source, lines):
        where = [
            f"{source.path.name}, line {k}"
            for k in range(first, first + some.count(b"\n") + (not some.endswith(b"\n")))
        ]
        done = _at_once(some, where) or _one_by_one(some, where, unknown)
        if first == 1 and not any(n.traces for n in done.narratives):
            reason = f" The first line: {done.errors[0].reason}" if done.errors else ""
            raise ArchiveError(
                f"{source.path}: none of the first {len(where)} lines is a narrative with `traces`;"
                " expected a file *_localized_narratives*.jsonl, not one of captions or"
                f" transcriptions.{reason}"
            )
        first += len(where)
        yield done


def _at_once(lines: bytes, where: list[str]) -> _Decoded | None:
    """Lines that are narratives and nothing else; None if any is not."""
    try:
        found = _decoder.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _Decoded(found, where, []) if len(found) == len(where) else None


def _one_by_one(lines: bytes, where: list[str], unknown: Counter[str]) -> _Decoded:
    found, names, errors = done = _Decoded([], [], [])
    for line, name in zip(lines.removesuffix(b"\n").split(b"\n"), where, strict=True):
        if not line.strip():
            continue
        try:
            found.append(_narrative(line, unknown))
            names.append(name)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            is_json = isinstance(error, msgspec.ValidationError)
            errors.append(
                RecordError(name, "not-a-narrative" if is_json else "json-syntax", str(error))
            )
    return done


def _some_lines(source: Source, lines: IO[bytes]) -> bytes:
    try:
        return lines.read(BATCH_BYTES) + lines.readline()
    except (*DAMAGE, OSError) as error:
        raise ArchiveError(
            f"{source.path}: cut or damaged ({error}). Nothing was written; get the file again"
        ) from error


def _narrative(line: bytes, unknown: Counter[str]) -> _Narrative:
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        if _UNKNOWN not in str(error):
            raise
    return msgspec.convert(_known(msgspec.json.decode(line), _Narrative, unknown), _Narrative)


def _known(value: Any, type: Any, unknown: Counter[str], path: str = "") -> Any:
    """The value without fields that the type does not have, here and below, which are counted."""
    if isinstance(value, list):
        return [_known(one, type, unknown, path) for one in value]
    if not isinstance(value, dict):
        return value
    known = {name: inner for name, inner in value.items() if name in type.__struct_fields__}
    unknown.update(path + name for name in value.keys() - known.keys())
    for name in _INNER.keys() & known.keys():
        known[name] = _known(known[name], _INNER[name], unknown, f"{name}.")
    return known


# --- columns -------------------------------------------------------------------------------------


def _table(found: list[Any]) -> pa.Table:
    """Narratives as a table of VIEWS."""
    lists = [_filled(n.traces) for n in found]
    stays = list(chain.from_iterable(lists))
    points = list(chain.from_iterable(stays))
    words = [word for n in found for word in n.timed_caption or ()]
    columns: dict[str, Any] = {
        "image_id": [_image_id(n.dataset_id, n.image_id) for n in found],
        "prompt": [PROMPT] * len(found),
        "answer": [n.caption for n in found],
        "annotator": [str(n.annotator_id) for n in found],
    }
    packed = cast(list[Floats], float_columns(points, _Point.__struct_fields__))
    x, y, seconds = packed
    return views(
        columns
        | _events(
            x,
            y,
            1000 * seconds,
            stay_bounds=_bounds(map(len, stays)),
            view_bounds=_bounds(map(len, lists)),
            words=pa.array([word.utterance for word in words], pa.string()),
            start_ms=1000 * np.array([word.start_time for word in words], np.float64),
            end_ms=1000 * np.array([word.end_time for word in words], np.float64),
            word_bounds=_bounds(len(n.timed_caption or ()) for n in found),
        )
    )


def _filled(traces: list[list[Any]] | None) -> list[list[Any]]:
    """The stays that have a point."""
    return [stay for stay in traces or () if stay]


def _bounds(lengths: Any) -> Ints:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))])


def _events(
    x: Floats,
    y: Floats,
    time_ms: Floats,
    *,
    stay_bounds: Ints,
    view_bounds: Ints,
    words: pa.StringArray,
    start_ms: Floats,
    end_ms: Floats,
    word_bounds: Ints,
) -> dict[str, pa.ListArray]:
    """The lists of VIEWS: moves between enter and leave of each stay, and the words when spoken.

    Args:
        x, y, time_ms: (num_points,).
        stay_bounds: (num_stays + 1,) stay i has the points stay_bounds[i]:stay_bounds[i + 1].
        view_bounds: (num_views + 1,) view i has the stays view_bounds[i]:view_bounds[i + 1].
        words, start_ms, end_ms: (num_words,).
        word_bounds: (num_views + 1,) of the words.
    """
    num_stays, num_views = len(stay_bounds) - 1, len(view_bounds) - 1
    # Points, each stay with one place more at its start and at its end.
    at = np.arange(len(x)) + 2 * np.repeat(np.arange(num_stays), np.diff(stay_bounds)) + 1
    enter = stay_bounds[:-1] + 2 * np.arange(num_stays)
    size = len(x) + 2 * num_stays
    event = np.full(size, CODE["leave"], np.int8)
    event[enter] = CODE["enter"]
    event[at] = CODE["move"]
    bounds = (stay_bounds + 2 * np.arange(num_stays + 1))[view_bounds]
    # A word comes after what was before it in its view. Views lie apart by more than any takes.
    apart = 2 * (np.abs(np.concatenate([time_ms, start_ms, [0.0]])).max() + 1)
    clock = np.zeros(size)
    clock[at] = time_ms
    clock[enter] = time_ms[stay_bounds[:-1]]
    clock[enter[1:] - 1] = time_ms[stay_bounds[1:-1] - 1]
    clock[size - 1 :] = time_ms[len(x) - 1 :]
    clock += apart * np.repeat(np.arange(num_views), np.diff(bounds))
    spoken = start_ms + apart * np.repeat(np.arange(num_views), np.diff(word_bounds))
    before = np.searchsorted(np.maximum.accumulate(clock), np.maximum.accumulate(spoken), "left")
    word_at = before + np.arange(len(spoken))
    is_word = np.zeros(size + len(spoken), np.bool_)
    is_word[word_at] = True
    moved = np.flatnonzero(~is_word)
    at = moved[at]

    def laid(values: Floats, places: Ints) -> Floats:
        found = np.full(len(is_word), np.nan)
        found[places] = values
        return found

    all_events = np.full(len(is_word), CODE["say"], np.int8)
    all_events[moved] = event
    all_times = laid(time_ms, at)
    all_times[word_at] = start_ms
    which = np.zeros(len(is_word), np.int32)
    which[word_at] = np.arange(len(words))
    return event_lists(
        bounds + word_bounds,
        all_events,
        laid(x, at),
        laid(y, at),
        all_times,
        laid(end_ms - start_ms, word_at),
        words.take(pa.array(which, mask=~is_word)),
        ["mouse"] * num_views,
    )


def _image_id(dataset_id: str, image_id: str) -> str:
    """An id of a decimal number is COCO's alone: Flickr30k numbers its pictures too."""
    return f"flickr30k_{image_id}" if dataset_id.startswith("Flic") else image_id


IMPORTER = Importer(
    name="localized-narratives",
    title="Localized Narratives",
    kind="tracing",
    files="*_localized_narratives*.jsonl, plain or gzip, or a folder of them",
    read=read,
    license="cc-by-4.0",
    citation="""@inproceedings{PontTuset_eccv2020,
  author    = {Jordi Pont-Tuset and Jasper Uijlings and Soravit Changpinyo and Radu Soricut
               and Vittorio Ferrari},
  title     = {Connecting Vision and Language with Localized Narratives},
  booktitle = {ECCV},
  year      = {2020}
}""",
    url="https://google.github.io/localized-narratives/",
    description=(
        "Annotators described a picture with their voice while hovering the mouse over the region"
        " they were describing; voice and pointer are synchronised, so every word has its piece of"
        " the trace. 873,107 narratives of 849k pictures of COCO, Flickr30k, ADE20K and Open"
        " Images."
    ),
    limits=(
        ("Asked for", "The trace was asked for, it is no by-product of another task."),
        (
            "Off the picture",
            "A small band around the picture was recorded too: points lie below 0 and above 1.",
        ),
        ("No layout", "How large the picture was on the page, and its size, are not in the file."),
        (
            "Words",
            "Times of words come from aligning the annotator's caption with an automatic"
            " transcription.",
        ),
    ),
)
