"""[I/O] study.toml: what a study asks, of whom, of which pictures, and how."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from luab_data.conversion import AnyPath
from luab_data.errors import OptionError, OutputError
from luab_data.files import flush, write_whole
from luab_data.kinds import OWN_KINDS
from luab_data.ours import is_noise
from luab_data.tools import Vocabulary
from luab_data.views.convert import read_classes

STUDY, DATABASE, SECRET = "study.toml", "study.sqlite", "secret.key"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
Count = Annotated[int, Meta(ge=1, le=10_000)]


class _Part(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A table of study.toml."""


class Label(_Part, kw_only=True, frozen=True):
    """A class: its name, what it means, the group it is shown in, and where its pictures are.

    Examples and icon are paths of pictures below the study's, which nobody is asked about.
    """

    name: Annotated[str, Meta(min_length=1)]
    definition: str = ""
    group: str = ""
    folder: str = ""  # of its pictures, if it is not called as the class is
    examples: tuple[str, ...] = ()  # shown above a page that asks for the class
    icon: str = ""  # shown beside its name in a tagging study


class Grid(_Part, kw_only=True, frozen=True):
    """A page of the browsing task, and how many pages a session has."""

    rows: Count = 16
    columns: Annotated[int, Meta(ge=1, le=12)] = 3
    pages: Count = 10


class Mix(_Part, kw_only=True, frozen=True):
    """Of the pictures on a page: parts known to be of the class, and others."""

    known: Count = 1
    others: Annotated[int, Meta(ge=0, le=10_000)] = 3


class Options(_Part, kw_only=True, frozen=True):
    """How a page looks; an arm may say otherwise."""

    pointer_dot: bool = False  # a red dot follows the cursor and stays at a click
    blur: bool = False  # pictures are blurred until the cursor is over them
    instructions: str = ""


_Way = Literal["open", "link", "mturk", "prolific"]


class Entry(_Part, kw_only=True, frozen=True):
    """Who may take part."""

    kinds: Annotated[tuple[_Way, ...], Meta(min_length=1)] = ("open",)
    overlap: Count = 1  # people who see each page
    sessions_each: Count = 1  # that one person may take
    expires_minutes: Count = 60  # until a page that nobody finished is offered again
    prolific_completion: str = ""  # code of the study at Prolific
    prolific_screen_out: str = ""  # code there for those for whom nothing is left


class Acceptance(_Part, kw_only=True, frozen=True):
    """What the dashboard suggests about a session."""

    min_recall: Annotated[float, Meta(ge=0, le=1)] = 1 / 3  # of the pictures known to be of a class
    min_seconds_a_page: Annotated[float, Meta(ge=0)] = 0.0
    reward_usd: Annotated[float, Meta(ge=0)] = 0.0
    usd_an_hour: Annotated[float, Meta(ge=0)] = 0.0  # a bonus makes the reward as much


class Study(_Part, kw_only=True, frozen=True):
    """What is asked, of which pictures, and how."""

    title: Annotated[str, Meta(min_length=1)]
    task: Literal["browsing", "tagging"]
    images: str  # folder; of a browsing study it has a folder for each class
    consent: Annotated[str, Meta(min_length=1)]
    classes: tuple[Label, ...]
    seed: int = 0
    grid: Grid = Grid()
    mix: Mix = Mix()
    options: Options = Options()
    arms: dict[str, dict[str, Any]] = {}
    entry: Entry = Entry()
    acceptance: Acceptance = Acceptance()

    def options_of(self, arm: str | None) -> Options:
        """Options of an arm of the experiment, or of all."""
        if arm is None:
            return self.options
        return msgspec.convert({**msgspec.to_builtins(self.options), **self.arms[arm]}, Options)


def read_study(folder: Path) -> Study:
    """The study of a folder.

    Raises:
        OptionError: there is none, or it says something that makes no sense: where, and what.
    """
    path = folder / STUDY
    try:
        study = msgspec.toml.decode(path.read_bytes(), type=Study)
        for arm in study.arms:
            try:
                study.options_of(arm)
            except msgspec.ValidationError as error:
                raise OptionError(f"{path}: arms.{arm}: {error}") from error
    except FileNotFoundError:
        raise OptionError(
            f"{folder}: has no {STUDY}; expected a study, as `luab-data collect init` makes one"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise OptionError(f"{path}: {error}") from error
    names = [label.name for label in study.classes]
    if not names or len({*names}) < len(names):
        raise OptionError(f"{path}: classes: found {len(names)}; expected each once, one at least")
    if strange := [name for name in names if name in (".", "..") or _CONTROL(name)]:
        raise OptionError(
            f"{path}: classes: found the name {strange[0]!r}, which no file can be called after;"
            " expected a word"
        )
    return study


def images_of(folder: Path, study: Study) -> Path:
    """The folder of the pictures; a relative one is below the study's own."""
    return (folder / study.images).resolve()


def secret_of(folder: Path) -> bytes:
    """The secret of a study, by which people are hashed and codes are made; made on first use.

    Raises:
        OutputError: it cannot be made.
        OptionError: it is cut short, or others on this machine may read it.
    """
    path = folder / SECRET
    if not path.exists():
        partial = folder / f".{SECRET}.{secrets.token_hex(4)}"
        try:
            with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_hex(32).encode())
            flush(partial)
            with suppress(FileExistsError):  # another server was first: its secret is the study's
                os.link(partial, path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be made ({error.strerror})") from error
        finally:
            partial.unlink(missing_ok=True)
    secret = path.read_bytes().strip()
    if len(secret) < 32:
        raise OptionError(
            f"{path}: holds {len(secret)} characters; expected the 64 of the study: put its secret"
            " back, since the hashes of people and their codes are of it"
        )
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise OptionError(f"{path}: others may read it; expected `chmod 600 {path}` first")
    return secret


def init(
    folder: AnyPath,
    *,
    images: AnyPath,
    task: Literal["browsing", "tagging"],
    classes: AnyPath | Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write the study.toml of a new study.

    Args:
        folder: of the study.
        images: folder of the pictures; a browsing study asks for the pictures of folders.
        task: what people do.
        classes: names, superclass -> names, or a file of them; None takes the folders of `images`.
        title: what people see; None is the name of the folder.

    Returns: the file.

    Raises:
        OptionError: no classes, or a browsing class without a folder.
        OutputError: there is a study already.
    """
    place, root = Path(folder), Path(images).resolve()
    path = place / STUDY
    if path.exists():
        raise OutputError(f"{path}: is there already; change it, or choose another folder")
    vocabulary = read_classes(classes)
    if vocabulary is None:
        folders = (p.name for p in root.iterdir() if p.is_dir() and not is_noise(f"{p.name}/"))
        vocabulary = Vocabulary(tuple(sorted(folders)))
    if not vocabulary.names:
        raise OptionError(f"{root}: has no folders to take classes from; give --classes FILE")
    lines = []
    for name in vocabulary.names:
        values = {"name": name, "definition": "", "group": vocabulary.group_of(name)}
        values = {key: value for key, value in values.items() if value or key == "definition"}
        inside = ", ".join(f"{key} = {_quoted(value)}" for key, value in values.items())
        lines.append(f"  {{ {inside} }},")
    text = _TEMPLATE.format(
        title=_quoted(title or place.resolve().name),
        task=_quoted(task),
        images=_quoted(str(root)),
        classes="\n".join(lines),
        grid=_BOARD if OWN_KINDS[task].several_labels else _PAGES,
    )
    place.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    read_study(place)
    return path


def _quoted(text: str) -> str:
    """A string of TOML."""
    return msgspec.json.encode(text).decode()


_PAGES = """\
[grid]              # a page of the paper has 48 pictures, a session 10 pages
rows = 16
columns = 3
pages = 10

[mix]               # of the pictures on a page: parts known to be of the class, and others
known = 1
others = 3
"""
_BOARD = """\
[grid]
pages = 20          # pictures of a session
"""
_TEMPLATE = """\
# A study of luab-collect: docs/collect.md. Change what you like before anybody takes part.
title = {title}
task = {task}
images = {images}
seed = 0            # of every draw

# What people read before they agree. Say who you are, what for, and how to withdraw.
consent = \"\"\"
You will be shown pictures and asked what they show. Beside your answers we record how the pointer
moves over the pictures, where you click, and when; nothing outside of this page.

You can stop at any time, and delete all that was recorded of you by the button below each page.
\"\"\"

classes = [
{classes}
]

{grid}
[options]
pointer_dot = false # a red dot follows the cursor and stays at a click
blur = false        # pictures are blurred until the cursor is over them
instructions = ""   # in place of ours

[entry]
kinds = ["open"]    # open, link, mturk, prolific
overlap = 1         # people who see each page
sessions_each = 1   # of one person
expires_minutes = 60

[acceptance]
min_recall = 0.3333 # of the pictures known to be of the class
min_seconds_a_page = 0.0
reward_usd = 0.0    # of a session
usd_an_hour = 0.0   # a bonus is suggested where pages took so long that the reward is less

# Arms of an experiment: people are assigned by the seed, and the arm is in the log.
# [arms.dot]
# pointer_dot = true
# [arms.plain]
# pointer_dot = false
"""
