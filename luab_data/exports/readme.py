"""The README.md of an exported folder: where it came from, how to open it, what the columns are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from luab_data.exports.select import Subset
from luab_data.hub.card import column_table

_OPENING = {
    "imagefolder": """```python
from datasets import load_dataset

images = load_dataset("THIS FOLDER", split="train")  # or load_dataset("imagefolder", data_dir=...)
```

Needs `datasets` 3 or later: 2 passes over `metadata.parquet` and serves images and classes alone.
timm: `create_dataset("hfds//ABSOLUTE/PATH", additional_features=["final_click_x", ...])`.
Image files may be hard links: changing one in place changes the original.""",
    "webdataset": """```python
from datasets import load_dataset

samples = load_dataset("THIS FOLDER", split="train", streaming=True)  # jpg, json, __key__
```

WebDataset: `wds.WebDataset("train-{000000..}.tar").decode("pil").to_tuple("jpg", "json")`.
timm: `--dataset wds/`; `_info.json` tells it the shards and that `label` of the json is the target.
Samples follow the dataset's order, but for a few complete ones in front: `datasets` infers types
from the first five where it does not see this file.""",
}


def readme(subset: Subset, format: str, front_matter: Mapping[str, Any]) -> str:
    """The text; `front_matter` becomes its YAML block, keys in the order given."""
    matter = yaml.safe_dump(dict(front_matter), sort_keys=False, allow_unicode=True, width=100)
    return f"""---
{matter}---

# {subset.num_rows:,} images of {subset.kind.dataset} {subset.version}

Exported by `luab-data export --format {format}` from the dataset with content digest
`{subset.digest}`.

{_OPENING[format]}

Points are (x, y) fractions of the picture, origin top left, raw values kept even outside [0, 1].
Boxes are xyxy pixels of the original, as published. Null means not there. Labels count the classes
of the whole dataset. Worker ids are the hashes of the dataset. The pictures are under the terms of
those who published them, not under the licence of the byproducts.

## Columns

{column_table(subset.table)}
"""
