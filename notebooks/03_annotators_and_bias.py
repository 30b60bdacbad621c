# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Annotators: who they are, how they differ, whom to look at
#
# One row a worker. A worker with three clicks would top every list of extremes by chance, so each
# number is pulled towards the crowd, the more the less is known of the worker (partial pooling).
# *weight* is what is left of the worker's own number: 1 is all their own, 0 all the crowd's.
#
# Opens `imagenet-ab` and `coco-ab`: folders here, or names under `$LUAB_DATA_HOME`. Worker ids are
# keyed hashes; they say nothing about a person.

# %%
# %matplotlib inline
import pandas

import luab_data
from luab_data.statistics.dataset import compare

pandas.set_option("display.max_colwidth", None)
DATASET = "imagenet-ab"

# %% [markdown]
# ## The crowd
#
# What is told of each worker, the crowd's value, and how much workers really differ (*spread*,
# without the noise of small numbers, on the scale that is pooled).

# %%
workers = luab_data.annotators(DATASET)
pandas.DataFrame(workers.as_dict()["traits"]).T

# %% [markdown]
# ## Own and pooled numbers
#
# Dots off the diagonal were pulled towards the crowd. Below: where each worker clicks relative to
# the centre of the box.

# %%
luab_data.draw("annotators", DATASET)[0, 0].figure

# %% [markdown]
# ## Whom to look at
#
# A flag is a reason to look, not proof. Flags *by behaviour* use nothing but times, traces and
# clicks; flags *by truth* use boxes too. Each says how far a worker is from the ordinary ones, in
# robust standard deviations: a handful of bad workers do not move that yardstick.

# %%
pandas.Series({s.key: s.doc for s in workers.measures.suspicions}, name="flag").to_frame()

# %%
workers.to_frame().head(10)[
    [
        *("worker_id", "num_rounds", "click_accuracy", "click_accuracy_pooled"),
        *("click_accuracy_weight", "picture_time_ms_pooled", "reasons"),
    ]
]

# %% [markdown]
# ## Bias of the clicks
#
# Where clicks lie relative to their box, over all workers. Offsets are in box sizes, y down; the
# second line leaves out clicks outside their box, of which a few far ones move a mean.

# %%
stats = luab_data.stats(DATASET)
pandas.concat(
    {name: stats.curve(name).to_pandas() for name in ("click_offset", "click_offset_inside")}
)

# %%
luab_data.draw("click_offset", DATASET).figure

# %% [markdown]
# ## COCO-AB
#
# The same for those who placed icons: precision and recall, time, pages that go back.

# %%
taggers = luab_data.annotators("coco-ab")
luab_data.draw("annotators", "coco-ab").figure

# %%
taggers.to_frame().head(10)[
    [
        *("worker_id", "num_images", "icon_precision", "icon_precision_pooled"),
        *("recall", "recall_pooled", "recall_weight", "reasons"),
    ]
]

# %% [markdown]
# ## The paper and this dataset
#
# The paper gives no numbers of single annotators. These of the crowd are what workers are judged
# by.

# %%
names = ["click_accuracy", "centre_accuracy", "off_centre_click_accuracy", "hit_time_ms"]
pandas.DataFrame(compare(stats, names))
