"""The README.md of a dataset folder: what load_dataset needs to know as YAML, the rest in words.

Three traps of `datasets` are settled here (docs/decisions.md, 2): keys keep their order, `version`
stands under each config, and every split has its counts. Everything the card says comes from the
manifest, the schema, `about` and the numbers it is given; `complete` alone writes files.  [I/O]
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from luab_data.errors import ImagesError
from luab_data.files import sha256_of
from luab_data.hub.about import PRIVACY, RELEASE, bibtex_fields, hub_licence
from luab_data.hub.legacy import dtype_name, legacy_script
from luab_data.kinds import about_of, kind_of, tables_of
from luab_data.raw.worker_ids import RELEASE_IDS
from luab_data.schema import Column, Table
from luab_data.store.digest import content_digest
from luab_data.store.folder import seal, version_of
from luab_data.store.shards import Shard
from luab_data.truth import Instances

if TYPE_CHECKING:
    from luab_data.statistics.measure import Count

README = "README.md"
_MARK = "---\n"  # around the YAML block
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
Feature = dict[str, Any]


def feature(column: Column, wnids: Sequence[str]) -> Feature:
    """One column as an entry of `dataset_info: features:`."""
    return {"name": column.name, **_dtype(column.type, column.class_names(wnids))}


def _dtype(type: pa.DataType, names: Sequence[str]) -> Feature:
    """`{dtype: X}` of a scalar, `{list: X}` of a list; the first key is what the reader goes by."""
    if pa.types.is_list(type):
        inner = _dtype(type.value_type, names)
        return {"list": inner["dtype"] if "dtype" in inner else inner}
    if names:
        return {"dtype": {"class_label": {"names": {str(i): n for i, n in enumerate(names)}}}}
    return {"dtype": dtype_name(type)}


def size_category(num_rows: int) -> str:
    """The Hub's word for a number of rows, e.g. `1M<n<10M`."""
    decades = max(len(str(num_rows)) - 3, 0)
    return _SIZES[min(decades, len(_SIZES) - 1)]


def front_matter(manifest: Mapping[str, Any]) -> str:
    """The YAML block of the card; readers cache by the version, which stands under each config."""
    about, kind, num_rows = about_of(manifest), kind_of(manifest), manifest["num_rows"]
    configs: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for table in tables_of(manifest):
        config: dict[str, Any] = {"config_name": table.config}
        if table.config == "default":
            config["default"] = True
        config["version"] = manifest["version"]
        config["data_files"] = [{"split": "train", "path": f"{table.folder}/train-*.parquet"}]
        configs.append(config)
        split = {
            "name": "train",
            "num_bytes": sum(shard["num_bytes"] for shard in manifest["shards"][table.config]),
            "num_examples": num_rows[table.config],
        }
        features = [feature(column, manifest["classes"]) for column in table.columns]
        infos.append({"config_name": table.config, "features": features, "splits": [split]})
    matter = {
        "pretty_name": about.title,
        **hub_licence(about.license),
        **({"annotations_creators": [about.creators]} if about.creators else {}),
        "source_datasets": list(about.source_datasets),
        "size_categories": [size_category(num_rows["default"])],
        "task_categories": [kind.task_category],
        **({"task_ids": list(kind.task_ids)} if kind.task_ids else {}),
        "tags": list(about.keywords),
        "configs": configs,
        "dataset_info": infos,
    }
    return str(yaml.safe_dump(matter, sort_keys=False, allow_unicode=True, width=100))


def column_table(table: Table) -> str:
    """A Markdown table of a config's columns."""
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in table.columns:
        kind = str(column.type).replace("element: ", "").replace("item: ", "")
        kind = kind.replace("double", "float64")
        # As code: <...> would be taken for HTML and vanish.
        lines.append(f"| `{column.name}` | `{kind}` | {column.unit} | {column.doc} |")
    return "\n".join(lines)


def statistics_table(counts: Mapping[str, Count], statistics: Mapping[str, Any]) -> str:
    """A Markdown table of `luab-data stats`: counts whole, shares to 4 digits, no value as `-`."""
    lines = ["| number | value | meaning |", "|---|---|---|"]
    for name, value in statistics.items():
        meaning = counts[name].title
        if isinstance(value, Mapping):
            some = [f"{key} {_shown(count)}" for key, count in list(value.items())[:8]]
            some += [f"{len(value) - 8} more"] if len(value) > 8 else []
            lines.append(f"| `{name}` | {', '.join(some) or '-'} | {meaning} |")
        else:
            lines.append(f"| `{name}` | {_shown(value)} | {meaning} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def dataset_card(
    manifest: Mapping[str, Any],
    *,
    name: str,
    statistics: Mapping[str, Any] | None = None,
    published: bool = False,
) -> str:
    """The whole README.md.

    Args:
        manifest: of the dataset, as the converter writes it: `dataset`, `version`, `schemas`,
            `shards`, `num_rows`, `classes`, `source`, `skipped`, `versions`, `worker_ids`, for
            COCO `instances`.
        name: what load_dataset is called with: the folder's name, or `owner/name` on the Hub.
        statistics: the numbers of `luab-data stats`; None leaves the section out.
        published: whether `name` is on the Hub, else it is a folder.
    """
    about, tables, num_rows = about_of(manifest), tables_of(manifest), manifest["num_rows"]
    links = about.links.items()
    parts = [
        f"{_MARK}{front_matter(manifest)}{_MARK}",
        f"# {about.title} {manifest['version']}\n",
        f"{about.description} The images themselves are not included.\n",
        *([" · ".join(f"[{word}]({url})" for word, url in links) + "\n"] if links else []),
        _loading(tables, name, num_rows, manifest["version"], published),
        "## How it was collected\n\n" + "\n\n".join(about.collection) + "\n",
        _conversion(manifest),
    ]
    if statistics is not None:
        intro = "Computed from this folder by `luab-data stats`; a share of an empty group is `-`."
        shown = statistics_table(kind_of(manifest).statistics.counts, statistics)
        parts.append(f"## Statistics\n\n{intro}\n\n{shown}\n")
    parts += [
        *([f"## Known biases\n\n{_bullets(about.biases)}\n"] if about.biases else []),
        *([f"## Known limits of the logs\n\n{_bullets(about.limits)}\n"] if about.limits else []),
        f"## Privacy and consent\n\n{privacy(manifest)}\n",
        f"## Licence\n\n{about.terms}\n",
        f"## Citation\n\n{_citation(about.citation)}\n",
        "## Columns\n\nPoints are (x, y) fractions of the picture, origin top left, raw values kept"
        " even outside [0, 1]. Boxes are xyxy pixels; a point is in a box when it is inside or on"
        " the border. Null means not there, never 0.\n",
    ]
    for table in tables:
        rows = num_rows[table.config]
        parts.append(f"### `{table.config}`: {rows:,} rows, one per {table.row}\n")
        parts.append(column_table(table) + "\n")
    return "\n".join(parts)


def _citation(citation: str) -> str:
    if bibtex_fields(citation):
        return f"```bibtex\n{citation}\n```"
    return citation or "None was given: name the title, the version and the address of this page."


def _bullets(items: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{name}.** {text}" for name, text in items)


def _loading(
    tables: Sequence[Table], name: str, num_rows: Mapping[str, int], version: str, published: bool
) -> str:
    pinned = f' Pin this version with `revision="{version}"`.' if published else ""
    where = "" if published else "In the parent folder:\n\n"
    code = f'from datasets import load_dataset\n\nimages = load_dataset("{name}", split="train")'
    for table in tables[1:]:
        code += f'\n{table.config} = load_dataset("{name}", "{table.config}", split="train")'
    configs = "\n".join(f"| `{t.config}` | {num_rows[t.config]:,} | {t.row} |" for t in tables)
    return (
        f"## Loading\n\n{where}```python\n{code}\n```\n\n"
        f"| config | rows | a row is one |\n|---|---|---|\n{configs}\n\n"
        "There is one split, `train`. `SHA256SUMS` and `manifest.json` cover every file:"
        f" `sha256sum -c SHA256SUMS`.{pinned}\n"
    )


def _conversion(manifest: Mapping[str, Any]) -> str:
    """Where this folder comes from and what was left out."""
    source, versions = manifest["source"], manifest["versions"]
    text = (
        f"Converted by luab {versions['luab']} (pyarrow {versions['pyarrow']}, shapely"
        f" {versions['shapely']}) from `{source['name']}`, sha256 `{source['sha256']}`."
    )
    if instances := manifest.get("instances"):
        text += (
            f" Ground truth: `{instances['name']}`, sha256 `{instances['sha256']}`;"
            f" {instances['num_images_missing']:,} images are not in it."
        )
    text += " Raw columns are the log's values; derived columns name their rule below."
    if hashed := manifest.get("hashed"):
        counts = ", ".join(f"{count:,} of `{name}`" for name, count in hashed.items())
        text += f" Hashes took the place of values that told who a worker is: {counts}."
    text += "\n\n"
    skipped = manifest["skipped"]
    if skipped:
        tally = "\n".join(f"| `{rule}` | {count:,} |" for rule, count in skipped.items())
        text += (
            f"{sum(skipped.values()):,} bad records were left out, each listed in `skipped.jsonl`:"
            f"\n\n| rule | records |\n|---|---|\n{tally}\n"
        )
    else:
        text += "No record was left out.\n"
    return f"## How it was converted\n\n{text}"


def privacy(manifest: Mapping[str, Any]) -> str:
    """What is hashed, what stays linkable, what is known of consent; Markdown."""
    if manifest.get("simulated"):
        return "The workers are drawn at random: no row is about a person."
    if manifest.get("fidelity", {}).get("has_annotator") == 0:
        return f"The data do not name their annotators. {about_of(manifest).consent}"
    about, hashed = about_of(manifest), manifest["worker_ids"]
    source, plain = "The ids in the log were not of the release's anonymous form.", _RELEASE_IDS
    if about.source != RELEASE:
        source = "What the ids were before is not said here."
        plain = [c.name for c in tables_of(manifest)[1].columns if c.name in _LOGGED_IDS]
    elif hashed["source"] == RELEASE_IDS:
        source = (
            "The ids in the log had the form of the release's, which its authors made anonymous"
            " before; since the release is public, anyone can match its rows with these."
        )
    ids = ", ".join([*(f"`{name}`" for name in plain), "image ids"])
    return PRIVACY.format(source=source, key=hashed["key"], ids=ids, consent=about.consent)


_RELEASE_IDS = ["hit_id", "assignment_id"]
_LOGGED_IDS = (*_RELEASE_IDS, "session", "task")


def complete(
    folder: Path,
    out: Path,
    *,
    about: Mapping[str, Any],
    shards: Mapping[str, Sequence[Shard]],
    schemas: Mapping[str, pa.Schema],
    wnids: Sequence[str],
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The last step of every build: write card, loading script, checksums and, last, the manifest.

    Args:
        folder: the staging folder, all shards in it under their final names.
        out: where the folder will stand; its name is in the card.
        about: what the manifest says of the input: `dataset`, `source`, `worker_ids`, `skipped`,
            `unknown`, `versions`; for COCO `instances`.
        shards, schemas: of every config.
        wnids: class names of `label`; empty for COCO.
        elsewhere: path -> sha256 of files that are not in the folder, as store.seal has it.

    Returns: the manifest, without the checksums of files.
    """
    digest = content_digest({config: [s.digest for s in some] for config, some in shards.items()})
    manifest: dict[str, Any] = {
        **about,
        "version": version_of(digest),
        "content_digest": digest,
        "num_rows": {config: sum(s.num_rows for s in some) for config, some in shards.items()},
        "classes": list(wnids),
        "schemas": {c: {f.name: str(f.type) for f in schema} for c, schema in schemas.items()},
        "shards": {config: [asdict(s) for s in some] for config, some in shards.items()},
    }
    text = dataset_card(manifest, name=Path(os.path.realpath(out)).name)
    (folder / README).write_text(text, encoding="utf-8", newline="\n")
    tables = tables_of(manifest)
    if "collection" not in manifest:  # nobody's old code loads such a dataset
        name, script = legacy_script(manifest["dataset"], tables, wnids, manifest["version"])
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(script, encoding="utf-8", newline="\n")
    seal(folder, manifest, elsewhere)
    return manifest


def versions() -> dict[str, str]:
    """What a dataset's bytes depend on besides its input: the manifest's `versions`."""
    names = ("luab", "numpy", "pyarrow", "shapely")
    return {"python": platform.python_version(), **{name: installed(name) for name in names}}


def about_instances(
    truth: Instances, path: Path, source: object, labels: Iterable[pa.Array | pa.ChunkedArray]
) -> dict[str, Any]:
    """What a manifest says of the instances file.

    Args:
        truth: read from `path`.
        source: the log or the dataset, for the error.
        labels: `labels` of all images; null where the file lacks the image.

    Raises:
        ImagesError: it has none of the images.
    """
    counts = [(len(column), column.null_count) for column in labels]
    total, missing = (sum(numbers) for numbers in zip(*counts, strict=True))
    if missing == total:
        raise ImagesError(
            f"{path}: has none of the {total} images of {source}; expected the instances file of"
            " these images, e.g. instances_train2014.json"
        )
    return {
        "name": path.name,
        "sha256": sha256_of(path),
        "num_images_missing": missing,
        **truth.about(),
    }
