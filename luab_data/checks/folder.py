"""[I/O] The files of a dataset folder: manifest, checksums, strangers, the card's YAML."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from luab_data.checks.report import Notes
from luab_data.console import progress
from luab_data.errors import DatasetError
from luab_data.files import CHECKSUMS, MANIFEST, foreign_files, sha256_of
from luab_data.kinds import ALL_KINDS, kind_of
from luab_data.raw.worker_ids import METHOD
from luab_data.schema import Table
from luab_data.store.folder import SKIPPED, read_manifest

Manifest = dict[str, Any]

CARD = "README.md"
_MAX_CARD_BYTES = 16 * 2**20
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)").fullmatch


class _Shard(msgspec.Struct):
    digest: str


def _entries(tables: Sequence[Table]) -> dict[str, Any]:
    """Entry of a manifest -> the type that the checks need it to have."""

    def of_each(kind: Any) -> Any:
        return msgspec.defstruct("Configs", [(table.config, kind) for table in tables])

    return {
        **{"version": str, "content_digest": str, "source": dict, "classes": list[str]},
        "files": dict[str, Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]],
        "num_rows": of_each(int),
        "schemas": of_each(dict[str, str]),
        "shards": dict[str, list[_Shard]],
        "repaired": dict[str, int],
    }


_OPTIONAL = {"shards", "repaired"}


def check_manifest(folder: Path, notes: Notes) -> Manifest:
    """The manifest, or as much of it as can be used; what is missing is left out.

    Raises:
        DatasetError: the folder is not there or holds nothing of luab.
    """
    kinds = ALL_KINDS.values()
    found = (k.dataset for k in kinds if any(folder.glob(f"{k.events.folder}/*.parquet")))
    guess = next(found, None)
    try:
        manifest = dict(read_manifest(folder))
    except (DatasetError, OSError, RecursionError) as error:
        if guess is None and isinstance(error, DatasetError):
            raise
        if guess is None:
            raise DatasetError(f"{folder / MANIFEST}: cannot be read ({error})") from error
        notes.problem("manifest", MANIFEST, str(error), "a manifest written by luab")
        return {"dataset": guess}
    notes.ran("manifest")
    if manifest["dataset"] not in [*ALL_KINDS]:  # it may be anything
        known = " or ".join(ALL_KINDS)
        notes.problem("manifest", MANIFEST, f"dataset is {manifest['dataset']!r:.60}", known)
        if guess is None:
            raise DatasetError(f"{folder / MANIFEST}: names no dataset of luab; expected {known}")
        manifest["dataset"] = guess
    kind = ALL_KINDS[manifest["dataset"]]
    for key, wanted in _entries(kind.tables).items():
        try:
            if key in manifest or key not in _OPTIONAL:
                msgspec.convert(manifest.get(key), wanted)
        except msgspec.ValidationError as error:
            notes.problem("manifest", MANIFEST, f"{key}: {error}", "an entry as luab writes it")
            manifest.pop(key, None)
    names, is_sorted = manifest.get("classes", []), kind.classes != "listed"
    if len(names) != len(set(names)) or (is_sorted and names != sorted(names)):
        has = "classes that repeat or are not sorted" if is_sorted else "classes that repeat"
        notes.problem("manifest", MANIFEST, has, "sorted names" if is_sorted else "each once")
        del manifest["classes"]
    try:
        kind.bound(manifest)
    except DatasetError as error:
        notes.problem("manifest", MANIFEST, str(error), "classes and superclasses that agree")
        manifest.pop("classes", None)
        manifest.pop("superclasses", None)
    ids = manifest.get("worker_ids")
    if not isinstance(ids, dict) or ids.get("method") != METHOD or not ids.get("key"):
        expected = f"worker_ids with method {METHOD} and the fingerprint of a key"
        advice = "convert the raw log again, with --worker-key-file"
        notes.problem("workers", MANIFEST, "no word of how ids were hashed", expected, advice)
    return manifest


def check_files(folder: Path, manifest: Manifest, notes: Notes, *, shown: bool | None) -> None:
    """Presence, strangers, SHA-256 of every file, SHA256SUMS."""
    if "files" not in manifest:
        return
    notes.ran("files", "checksums")
    files: dict[str, str] = manifest["files"]
    for name in foreign_files(folder, {*files, MANIFEST, CHECKSUMS}):
        advice = "move it away; if luab should know it, convert again"
        notes.problem("files", name, "a file", "only files of the manifest", advice)
    with progress(sorted(files), what="checksums", unit="file", shown=shown) as names:
        for name in names:
            path = folder / name
            if not path.is_file():  # a pipe would be waited for without end
                there = path.is_symlink() or path.exists()
                found = "no plain file" if there else "nothing"
                notes.problem("files", name, found, "the file, which the manifest lists")
                continue
            try:
                digest = sha256_of(path)
            except OSError as error:
                notes.problem("files", name, f"{error.strerror or error}", "a readable file")
                continue
            if digest != files[name]:
                notes.problem("checksums", name, f"SHA-256 {digest}", files[name])
    _check_sums(folder, files, notes)
    _check_skipped(folder, manifest, notes)


def _check_sums(folder: Path, files: dict[str, str], notes: Notes) -> None:
    try:
        lines = _text(folder / CHECKSUMS).splitlines()
    except (OSError, ValueError) as error:
        notes.problem("checksums", CHECKSUMS, f"{error}", "a line for each file")
        return
    sums = {}
    for number, line in enumerate(lines, 1):
        if match := _SUM(line):
            sums[match[2]] = match[1]
        else:
            where = f"{CHECKSUMS}:{number}"
            notes.problem("checksums", where, f"{line!r:.80}", "a SHA-256, two spaces, a path")
    for name in sorted(sums.keys() | files.keys()):
        if sums.get(name) != files.get(name):
            found = f"{sums.get(name, 'no line')} for {name}"
            expected = f"{files.get(name, 'no line')}, as the manifest has it"
            notes.problem("checksums", CHECKSUMS, found, expected)


def _check_skipped(folder: Path, manifest: Manifest, notes: Notes) -> None:
    """The manifest's tally of records left out is that of their list."""
    tally: Counter[str] = Counter()
    path = folder / SKIPPED
    if path.is_file():
        try:
            with path.open(encoding="utf-8") as lines:
                tally.update(str(json.loads(line)["rule"]) for line in lines)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            notes.problem("manifest", SKIPPED, f"{error!r:.120}", "a JSON object a line")
            return
    if manifest.get("skipped", {}) != dict(tally):
        found = f"skipped is {manifest.get('skipped')!r:.120}"
        notes.problem("manifest", MANIFEST, found, f"{dict(tally)!r:.120}, as {SKIPPED} has it")


def check_card(folder: Path, manifest: Manifest, notes: Notes) -> None:
    """The YAML of README.md, which `datasets` goes by, against the manifest."""
    notes.ran("card")
    try:
        matter = _front_matter(folder / CARD)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        notes.problem("card", CARD, f"{error}"[:300], "a dataset card with YAML in front")
        return
    configs, infos = (
        {str(entry.get("config_name")): entry for entry in _listed(matter.get(key))}
        for key in ("configs", "dataset_info")
    )
    for table in kind_of(manifest).tables:
        config, info = configs.get(table.config), infos.get(table.config)
        if config is None or info is None:
            notes.problem("card", CARD, f"no config {table.config}", "one of every table")
            continue
        for what, found, expected in _said_twice(table, config, info, manifest):
            if found != expected:
                short = f"{what} of {table.config} is {_short(found)}"
                notes.problem("card", CARD, short, _short(expected))


def _said_twice(
    table: Table, config: dict[str, Any], info: dict[str, Any], manifest: Manifest
) -> Iterator[tuple[str, Any, Any]]:
    """(what, as the card has it, as the manifest has it) of one config."""
    if "version" in manifest:
        yield "version", config.get("version"), manifest["version"]
    expected = [{"split": "train", "path": f"{table.folder}/train-*.parquet"}]
    yield "data_files", config.get("data_files"), expected
    splits = _listed(info.get("splits"))
    counts = [split.get("num_examples") for split in splits if split.get("name") == "train"]
    if table.config in manifest.get("num_rows", {}):
        yield "num_examples", counts, [manifest["num_rows"][table.config]]
    features = _listed(info.get("features"))
    if table.config in manifest.get("schemas", {}):
        names = [feature.get("name") for feature in features]
        yield "features", names, list(manifest["schemas"][table.config])
    labels = {column.name: column for column in table.columns if column.classes}
    for feature in features:
        column = labels.get(str(feature.get("name")))
        if column is not None and (column.classes == "coco" or "classes" in manifest):
            wanted = list(column.class_names(manifest.get("classes", ())))
            yield f"class names of {column.name}", _class_names(feature), wanted


def _text(path: Path) -> str:
    if not path.is_file():
        raise ValueError("no plain file of that name")
    if path.stat().st_size > _MAX_CARD_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes")
    return path.read_text(encoding="utf-8")


def _front_matter(path: Path) -> dict[str, Any]:
    parts = _text(path).split("---\n", 2)
    if len(parts) < 3 or parts[0]:
        raise ValueError("no YAML between two lines of ---")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 1000 class names: 20 times as fast
    matter = yaml.load(parts[1], loader)
    if not isinstance(matter, dict):
        raise ValueError(f"YAML that is a {type(matter).__name__}")
    return matter


def _listed(found: Any) -> list[dict[str, Any]]:
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _class_names(feature: Any) -> list[Any]:
    """The names of a class label, however deep in lists it is."""
    while isinstance(feature, dict):
        if "names" in feature:
            names = feature["names"]
            return list(names.values()) if isinstance(names, dict) else list(names or [])
        keys = ("class_label", "dtype", "list", "sequence")
        feature = next((feature[key] for key in keys if key in feature), None)
    return []


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."
