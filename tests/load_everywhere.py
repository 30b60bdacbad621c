"""Open dataset folders with whatever `datasets` runs this, and write down what came out.

    python load_everywhere.py ROOT CACHE OUT

For each folder of ROOT, as a user would from there: every config by the folder's name and, where
scripts still run, by `legacy/`; map-style and streaming; a few columns through luab_data. Runs in
old environments: only what old releases know is used.
"""

import json
import os
import sys
from pathlib import Path

root, cache, out = (Path(argument).resolve() for argument in sys.argv[1:4])
os.environ["HF_HOME"] = str(cache)
os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.chdir(root)

import datasets  # noqa: E402
import pyarrow  # noqa: E402

MAJOR, MINOR = map(int, datasets.__version__.split(".")[:2])


def kind(type):
    """An Arrow type as text that does not depend on the release's names of list items."""
    return [kind(type.value_type)] if pyarrow.types.is_list(type) else str(type)


def label_names(feature):
    """Names of a label, or of the items of a list, whatever the release calls a list."""
    if isinstance(feature, list):
        return label_names(feature[0])
    if isinstance(feature, datasets.ClassLabel):
        return feature.names
    return label_names(feature.feature) if hasattr(feature, "feature") else None


def opened(rows):
    """Rows as canonical JSON, and what the features say."""
    schema = rows.features.arrow_schema
    return {
        "rows": [json.dumps(row, allow_nan=False) for row in rows],
        "types": {field.name: kind(field.type) for field in schema},
        "labels": {name: label_names(feature) for name, feature in rows.features.items()},
    }


def both(path, config, **options):
    """Map-style and streaming."""
    everything = datasets.load_dataset(path, config, **options)
    splits = {name: rows.info.splits[name].num_examples for name, rows in everything.items()}
    stream = datasets.load_dataset(path, config, split="train", streaming=True, **options)
    return {"mapped": opened(everything["train"]), "streamed": opened(stream), "splits": splits}


def chosen(path, config, columns):
    """A few columns through luab_data, map-style and streaming."""
    import luab_data

    options = {"columns": columns, "split": "train"}
    ways = [luab_data.load_dataset(path, config, streaming=way, **options) for way in (False, True)]
    return [opened(rows) for rows in ways]


def script_error(path):
    try:
        datasets.load_dataset(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


COLUMNS = {"imagenet-ab": ["boxes", "label", "image_id"], "coco-ab": ["icon_label", "image_id"]}

report = {"release": datasets.__version__, "folders": {}}
for name, columns in COLUMNS.items():
    script = f"{name}/legacy/{name.replace('-', '_')}.py"
    found = {"configs": {}, "scripts": {}, "columns": chosen(name, "default", columns)}
    for config in datasets.get_dataset_config_names(name):
        found["configs"][config] = both(name, config)
        if MAJOR < 4:
            options = {"trust_remote_code": True} if (MAJOR, MINOR) >= (2, 16) else {}
            found["scripts"][config] = both(script, config, **options)
    if MAJOR >= 4:
        found["script_error"] = script_error(script)
    report["folders"][name] = found
out.write_text(json.dumps(report))
# Some pairs of datasets 3 and pyarrow abort while the interpreter shuts down (apache/arrow#45214).
sys.stdout.flush()
os._exit(0)
