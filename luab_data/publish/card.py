"""The README.md of a dataset folder: what load_dataset needs to know as YAML, the rest in words.

Three traps of `datasets` are settled here (docs/decisions.md, 2): keys keep their order, `version`
stands under each config, and every split has its counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from luab_data.schema import COCO_CLASSES, Column, Table

_DTYPES = {"double": "float64", "float": "float32"}
Feature = dict[str, Any]


def feature(column: Column, wnids: Sequence[str]) -> Feature:
    """One column as an entry of `dataset_info: features:`."""
    return {"name": column.name, **_dtype(column.type, _names(column, wnids))}


def _names(column: Column, wnids: Sequence[str]) -> Sequence[str]:
    if column.classes is None:
        return ()
    return wnids if column.classes == "wnid" else COCO_CLASSES


def _dtype(type: pa.DataType, names: Sequence[str]) -> Feature:
    """`{dtype: X}` of a scalar, `{list: X}` of a list; the first key is what the reader goes by."""
    if pa.types.is_list(type):
        inner = _dtype(type.value_type, names)
        return {"list": inner["dtype"] if "dtype" in inner else inner}
    if names:
        return {"dtype": {"class_label": {"names": {str(i): n for i, n in enumerate(names)}}}}
    return {"dtype": _DTYPES.get(str(type), str(type))}


def front_matter(
    tables: Sequence[Table],
    *,
    version: str,
    wnids: Sequence[str],
    num_rows: Mapping[str, int],
    num_bytes: Mapping[str, int],
    pretty_name: str,
) -> str:
    """The YAML block of the card.

    Args:
        tables: the configs, the default one first.
        version: bumped with every change of content: readers cache by it.
        wnids: class names of `label`.
        num_rows, num_bytes: of each config.
    """
    configs: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for table in tables:
        config: dict[str, Any] = {"config_name": table.config}
        if table.config == "default":
            config["default"] = True
        config["version"] = version
        config["data_files"] = [{"split": "train", "path": f"{table.folder}/train-*.parquet"}]
        configs.append(config)
        split = {
            "name": "train",
            "num_bytes": num_bytes[table.config],
            "num_examples": num_rows[table.config],
        }
        infos.append(
            {
                "config_name": table.config,
                "features": [feature(column, wnids) for column in table.columns],
                "splits": [split],
            }
        )
    matter = {
        "pretty_name": pretty_name,
        "license": "apache-2.0",
        "tags": ["annotation-byproducts"],
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
        lines.append(f"| `{column.name}` | {kind} | {column.unit} | {column.doc} |")
    return "\n".join(lines)


_LOAD = """```python
from datasets import load_dataset

images = load_dataset("{name}", split="train"){rest}
```"""

_PRIVACY = """Worker ids are hashed with a secret key that is not part of this folder. Times and HIT
ids are as logged; whoever also holds the raw log can match them. Publish with that in mind."""


def card(
    tables: Sequence[Table],
    *,
    name: str,
    title: str,
    version: str,
    wnids: Sequence[str],
    num_rows: Mapping[str, int],
    num_bytes: Mapping[str, int],
    num_skipped: int,
) -> str:
    """The whole README.md. Arguments as front_matter."""
    matter = front_matter(
        tables,
        version=version,
        wnids=wnids,
        num_rows=num_rows,
        num_bytes=num_bytes,
        pretty_name=title,
    )
    rest = "".join(
        f'\n{t.config} = load_dataset("{name}", "{t.config}", split="train")' for t in tables[1:]
    )
    skipped = (
        f"{num_skipped} bad records were left out; see `skipped.jsonl`." if num_skipped else ""
    )
    parts = [
        f"---\n{matter}---\n",
        f"# {title} {version}\n",
        "Annotation byproducts, converted from the raw log by luab. Run this in the parent folder:"
        f"\n\n{_LOAD.format(name=name, rest=rest)}\n",
        "Points are (x, y) fractions of the picture, origin top left, raw values kept even outside"
        " [0, 1]. Boxes are xyxy pixels; a point is in a box when it is inside or on the border."
        f" Null means not there.\n\n{skipped}".rstrip()
        + "\n",
        f"## Privacy\n\n{_PRIVACY}\n",
    ]
    for table in tables:
        rows = num_rows[table.config]
        parts.append(f"## `{table.config}`: {rows} rows, one per {table.row}\n")
        parts.append(column_table(table) + "\n")
    return "\n".join(parts)
