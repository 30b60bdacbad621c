# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Loading the datasets, and joining them with pictures
#
# A dataset folder is plain Parquet with a card. `imagenet-ab` is a folder here, or a name under
# `$LUAB_DATA_HOME`. The pictures are not ours to ship: `$LUAB_IMAGES` names a folder of
# `<wnid>/<image id>.JPEG`, by default that of `make demo` in `$LUAB_DATA_HOME`.

# %%
# %matplotlib inline
import os

import pandas
from IPython.display import SVG

import luab_data
from luab_data import splits
from luab_data.statistics.dataset import compare

pandas.set_option("display.max_colwidth", None)
DATASET = "imagenet-ab"
HOME = os.environ.get("LUAB_DATA_HOME", "")
IMAGES = os.environ.get("LUAB_IMAGES", os.path.join(HOME, "demo/images/train"))

# %% [markdown]
# ## Rows
#
# `load_dataset` is that of Hugging Face, after the checksums were compared. `read_table` gives one
# Arrow table without a cache; both take a few columns and filters.

# %%
dataset = luab_data.load_dataset(DATASET, split="train")
dataset

# %%
clicks = luab_data.read_table(
    DATASET,
    columns=["image_id", "wnid", "final_click_x", "final_click_y", "click_in_box"],
    filters=[("selected", "==", True)],
)
clicks.to_pandas().describe()

# %% [markdown]
# Streaming needs no cache. `rounds` holds every raw field, one row for each time a picture was
# shown; `annotators` one row for each worker.

# %%
next(iter(luab_data.load_dataset(DATASET, "rounds", split="train", streaming=True)))

# %% [markdown]
# ## Splits
#
# By annotator, so that nobody is on both sides; by a hash, so that rows added later move nobody.

# %%
default = luab_data.read_table(DATASET, columns=["image_id", "wnid", "worker_id", "selected"])
sides = splits.by_annotator(default, {"train": 0.8, "val": 0.2})
sides.to_pandas().value_counts(dropna=False)

# %% [markdown]
# ## Pictures
#
# The join matches ids, opens no picture, and says what is left over on both sides.

# %%
joined = luab_data.join_images(DATASET, IMAGES)
print(joined)

# %%
pictures = joined.to_dataset()
row = next(r for r in pictures if r["selected"] and r["has_boxes"])
events = luab_data.clicks(DATASET, row["image_id"])
events.to_frame()

# %% [markdown]
# The picture with its box, the pointer's path over it in the deciding round, and the click.

# %%
SVG(events.svg(row["image"]))

# %% [markdown]
# ## The paper and this dataset

# %%
pandas.DataFrame(compare(luab_data.stats(DATASET, ["coverage", "selected_share"])))
