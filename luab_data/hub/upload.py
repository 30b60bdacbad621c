"""[I/O] A dataset folder -> a dataset repository of the Hugging Face Hub.

The folder itself is never touched: its card is part of its checksums, and `datasets` caches by the
card's text. What goes is put together in a temporary folder: the Parquet files as links, and
beside them a card with statistics, CITATION.cff and croissant.json. That folder is sealed like any
dataset folder, so a download is one: SHA256SUMS and manifest.json hold for exactly what was sent.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luab_data.errors import DatasetError, OptionError, OutputError
from luab_data.files import CHECKSUMS, MANIFEST, sha256_of
from luab_data.hub.about import citation_cff
from luab_data.hub.card import README, dataset_card
from luab_data.hub.croissant import croissant
from luab_data.hub.vet import licensed, vet
from luab_data.kinds import about_of, tables_of
from luab_data.statistics.dataset import stats
from luab_data.store.folder import SKIPPED, read_manifest, seal
from luab_data.store.load import find_dataset

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CITATION = "CITATION.cff"
CROISSANT = "croissant.json"
_MADE_ANEW = (README, CITATION, CROISSANT)
_SOMETIMES = ("legacy/*", SKIPPED)  # an older upload may have them where this one does not


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file of an upload: its path in the repository, bytes, sha256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was sent, or would be.

    Args:
        repo_id: owner/name.
        url: of the repository.
        version: of the dataset; the upload's tag.
        private: whether only its owners see it.
        items: every file, by path.
        replaced: patterns of repository files that go if they are not among the items.
        sent: False after a dry run.
    """

    repo_id: str
    url: str
    version: str
    private: bool
    items: tuple[Item, ...] = field(repr=False)
    replaced: tuple[str, ...] = field(repr=False)
    sent: bool


def publish(
    dataset: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    license: str | None = None,
    keep: Sequence[str] = (),
    api: HfApi | None = None,
    date: str | None = None,
    shown: bool | None = None,
) -> Published:
    """Upload a dataset, or with `dry_run` only put together what would go.

    Shards of an older upload that this one does not have are deleted in the repository, or its
    card's globs would mix them with the new ones. A large upload can take several commits; the tag
    of the dataset's version is set after the last one, so it always names a whole dataset. An
    interrupted upload goes on when the command is run again.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME; stays as it is.
        repo_id: `owner/name`; made if it is not there.
        private: make the repository private; a public one that is there already is refused.
        dry_run: send nothing, ask nobody.
        keep: columns whose values may go though they look like e-mail addresses or have the id of
            their worker in them: look at them first.
        license: of data that name none: the Hub's or SPDX's id (`cc-by-4.0`), or its name or URL.
        api: the Hub's client; None makes one, with the user's own login.
        date: day of publication for croissant.json, YYYY-MM-DD; None is today (UTC).
        shown: progress bars; None shows them on a terminal.

    Raises:
        OptionError: `repo_id` is not `owner/name`, or the data have another `license`.
        DatasetError: the folder may not be published (see vet).
        OutputError: the Hub refuses or cannot be reached.
    """
    _check_repo_id(repo_id)
    folder = find_dataset(dataset)
    manifest = licensed(folder, vet(folder, keep=keep, shown=shown), license)
    date = date or datetime.now(UTC).date().isoformat()
    with _staged(folder, manifest, repo_id, stats(folder).counts, date) as (stage, items):
        replaced = (*(f"{table.folder}/*" for table in tables_of(manifest)), *_SOMETIMES)
        url = _url(repo_id)
        if not dry_run:
            url = _send(stage, repo_id, manifest, replaced, private=private, api=api)
    return Published(
        repo_id=repo_id, url=url, version=manifest["version"], private=private, items=items,
        replaced=replaced, sent=not dry_run,
    )  # fmt: skip


def _url(repo_id: str) -> str:
    return f"https://huggingface.co/datasets/{repo_id}"


def _check_repo_id(repo_id: str) -> None:
    # Public, but not in an __all__ that mypy would see.
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except ValueError as error:
        raise OptionError(f"--repo-id {repo_id!r:.120}: {error}") from None
    if "/" not in repo_id:
        raise OptionError(
            f"--repo-id {repo_id!r}: names no owner; expected owner/name, e.g. me/{repo_id}"
        )


# --- what goes -----------------------------------------------------------------------------------


@contextmanager
def _staged(
    folder: Path,
    manifest: Mapping[str, Any],
    repo_id: str,
    statistics: Mapping[str, Any],
    date: str,
) -> Iterator[tuple[Path, tuple[Item, ...]]]:
    """A temporary folder with exactly what goes, and the list of it."""
    about, url = about_of(manifest), _url(repo_id)
    with tempfile.TemporaryDirectory(prefix="luab-publish-") as name:
        stage = Path(name)
        # What is made anew must not be a link: to write it would write into the user's folder.
        taken = [file for file in manifest["files"] if file not in _MADE_ANEW]
        for file in taken:
            _link(folder / file, stage / file)
        sizes = {file: (folder / file).stat().st_size for file in taken}
        metadata = croissant(manifest, sizes=sizes, url=url, date=date, statistics=statistics)
        texts = {
            README: dataset_card(manifest, name=repo_id, statistics=statistics, published=True),
            CITATION: citation_cff(about, version=manifest["version"], url=url),
            CROISSANT: json.dumps(metadata, indent=1, ensure_ascii=False) + "\n",
        }
        for file, text in texts.items():
            if text is None:
                continue
            (stage / file).write_text(text, encoding="utf-8", newline="\n")
        seal(stage, {key: value for key, value in manifest.items() if key != "files"})
        files = read_manifest(stage)["files"]
        for file in taken:
            if files.get(file) != manifest["files"][file]:
                raise DatasetError(f"{folder / file}: changed while it was read; publish again")
        for file in (MANIFEST, CHECKSUMS):
            files[file] = sha256_of(stage / file)
        yield (
            stage,
            tuple(
                Item(path=file, size=(stage / file).stat().st_size, sha256=digest)
                for file, digest in sorted(files.items())
            ),
        )


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source.resolve(), target)
    except OSError:  # Windows allows links to administrators only
        shutil.copyfile(source, target)


def _send(
    stage: Path,
    repo_id: str,
    manifest: Mapping[str, Any],
    replaced: tuple[str, ...],
    *,
    private: bool,
    api: HfApi | None,
) -> str:
    """Upload the staged folder and tag it; the repository's URL."""
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    version = manifest["version"]
    with _hub(repo_id, "nothing was uploaded"):
        url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        # exist_ok leaves a repository that is there as visible as it was.
        is_private = api.dataset_info(repo_id).private
    if private and not is_private:
        raise OutputError(
            f"{repo_id}: is there already and public, though --private was asked for; nothing was"
            " uploaded. Make it private on the Hub or choose another --repo-id"
        )
    with _hub(repo_id, "the upload is not complete; run the command again and it goes on"):
        api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=stage,
            commit_message=f"{about_of(manifest).title} {version}",
            delete_patterns=list(replaced),
        )
    with _hub(repo_id, f"everything was uploaded, only the tag {version} is missing"):
        api.create_tag(repo_id, tag=version, repo_type="dataset", exist_ok=True)
    return str(url)


@contextmanager
def _hub(repo_id: str, state: str) -> Iterator[None]:
    """The Hub's refusals as one OutputError that says how far it came."""
    try:
        yield
    # The client raises errors of its own, of httpx or requests by its version, and of hf_xet,
    # which have no base in common; only its calls stand in these blocks.
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        response = getattr(error, "response", None)
        advice = _ADVICE.get(getattr(response, "status_code", None), _CONNECTION)
        raise OutputError(f"{repo_id}: the Hub refused ({reason}); {state}. {advice}") from error


_LOGIN = "Log in with `hf auth login` and a token that may write to this owner's datasets"
_ADVICE: dict[int | None, str] = {401: _LOGIN, 403: _LOGIN, 404: _LOGIN}
_CONNECTION = "Check the connection, HF_HUB_OFFLINE and `hf auth whoami`"
