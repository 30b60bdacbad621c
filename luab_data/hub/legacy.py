"""The loading script `legacy/<dataset>.py` of a dataset folder, for `datasets` before 4.

It is a courtesy to those pinned to an old release: every release opens the folder without it. Four
traps decide its shape (docs/decisions.md, 2):

- it lies in its own folder under another name: `imagenet-ab/imagenet-ab.py` would make the whole
  folder unloadable with `datasets` 4 and later, and would inherit the card's counts before;
- one import a line: 2.x and 3.x read the script's text for what to install and take `import a, b`
  for a package called `a,`;
- paths start at the script, so the shards are `../data/...`;
- `datasets` caches by the script's text, not by the shards: the version stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from luab_data.schema import Column, Table

FOLDER = "legacy"
_WIDTH = 100

_SCRIPT = '''"""{dataset} {version} for `datasets` < 4, the releases that run loading scripts.

Only for datasets<4; newer: load_dataset("{dataset}"), which needs no script. Older releases open
the folder like that too, with the same rows. From the folder above {dataset}:

    load_dataset("{script}", split="train")
    load_dataset("{script}", "{second}", split="train")

A release that asks before it runs a script wants trust_remote_code=True: read the script first.
Written by luab; needs datasets and nothing else.
"""

import json
import os

import datasets
import pyarrow.parquet

FOLDERS = {folders}


class {class_name}(datasets.ArrowBasedBuilder):
    """One config for each of FOLDERS."""

    VERSION = datasets.Version("{version}")
    BUILDER_CONFIGS = [datasets.BuilderConfig(name=name, version="{version}") for name in FOLDERS]
    DEFAULT_CONFIG_NAME = "default"

    def _info(self):
        columns = COLUMNS[self.config.name]
        features = datasets.Features({{name: feature(kind) for name, kind in columns.items()}})
        return datasets.DatasetInfo(features=features)

    def _split_generators(self, dl_manager):
        # Relative paths start at this file; the manifest knows the shards.
        manifest = dl_manager.download(os.path.join("..", "manifest.json"))
        with open(manifest, encoding="utf-8") as file:
            names = sorted(json.load(file)["files"])
        folder = FOLDERS[self.config.name] + "/"
        shards = [name for name in names if name.startswith(folder) and name.endswith(".parquet")]
        files = dl_manager.download([os.path.join("..", *name.split("/")) for name in shards])
        return [datasets.SplitGenerator(name="train", gen_kwargs={{"files": files}})]

    def _generate_tables(self, files):
        for number, path in enumerate(files):
            with open(path, "rb") as file:
                shard = pyarrow.parquet.ParquetFile(file)
                for group in range(shard.num_row_groups):
                    yield f"{{number}}_{{group}}", shard.read_row_group(group)


def feature(kind):
    if isinstance(kind, list):
        return [feature(kind[0])]
    return datasets.ClassLabel(names=NAMES[kind]) if kind in NAMES else datasets.Value(kind)


COLUMNS = {{
{columns}
}}

# What the integers of a label stand for.
NAMES = {{
{names}
}}
'''


def legacy_script(
    dataset: str, tables: Sequence[Table], wnids: Sequence[str], version: str
) -> tuple[str, str]:
    """The loading script of a dataset folder; it finds the shards through the manifest.

    Args:
        dataset: `imagenet-ab` or `coco-ab`.
        tables: its configs, the default one first.
        wnids: class names of `label`; empty for coco-ab.
        version: that of the card and the manifest, e.g. `1.0.42`.

    Returns: its POSIX path in the folder, `legacy/imagenet_ab.py`, and its text: Python for 3.7 and
    later, ASCII, the same for equal arguments.
    """
    module = dataset.replace("-", "_")
    path = f"{FOLDER}/{module}.py"
    entries = {t.config: [_entry(column, wnids) for column in t.columns] for t in tables}
    labels = {
        str(column.classes): names
        for table in tables
        for column in table.columns
        if (names := column.class_names(wnids))
    }
    text = _SCRIPT.format(
        dataset=dataset,
        version=version,
        script=f"{dataset}/{path}",
        second=tables[1].config,
        folders=json.dumps({table.config: table.folder for table in tables}),
        class_name="".join(part.capitalize() for part in module.split("_")),
        columns="\n".join(_filled(config, "{}", items) for config, items in entries.items()),
        names="\n".join(_filled(key, "[]", map(_literal, names)) for key, names in labels.items()),
    )
    return path, text


def dtype_name(type: pa.DataType) -> str:
    """A scalar type as `datasets` calls it."""
    return {"double": "float64", "float": "float32"}.get(str(type), str(type))


def _entry(column: Column, wnids: Sequence[str]) -> str:
    return f"{_literal(column.name)}: {json.dumps(_kind(column.type, column, wnids))}"


def _kind(type: pa.DataType, column: Column, wnids: Sequence[str]) -> Any:
    """A type as the script writes it: a dtype, a key of NAMES, or a list of one kind."""
    if pa.types.is_list(type):
        return [_kind(type.value_type, column, wnids)]
    return column.classes if column.class_names(wnids) else dtype_name(type)


def _literal(text: str) -> str:
    # JSON writes what lies beyond U+FFFF as two escapes, which Python reads as two characters.
    return json.dumps(text) if text.isascii() else ascii(text)


def _filled(key: str, brackets: str, items: Iterable[str]) -> str:
    """`"key": {items},` over as many lines as it needs; an item is never broken."""
    lines, line = [f"    {_literal(key)}: {brackets[0]}"], ""
    for item in items:
        if line and len(line) + len(item) + 2 > _WIDTH:
            lines.append(line)
            line = ""
        line += f" {item}," if line else f"        {item},"
    return "\n".join([*lines, *([line] if line else []), f"    {brackets[1]},"])
