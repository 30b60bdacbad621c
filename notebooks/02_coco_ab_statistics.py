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
# # COCO-AB: every statistic and figure of the byproducts
#
# Annotators dragged icons of the classes they saw onto the objects of an image. What they added,
# moved and removed was logged. This notebook reads a converted dataset, prints every statistic with
# its 95 % interval and its null, and draws the figures of appendix E of the paper.
#
# It opens `coco-ab`: a folder here, or a name under `$LUAB_DATA_HOME`, made by `luab-data convert
# coco-ab coco_ab_v1_0.json --instances instances_train2014.json --out coco-ab`. Without the
# instances file there is no ground truth, and what needs it is not measurable.

# %%
# %matplotlib inline
import pandas

import luab_data
from luab_data.statistics.coco_icons import size_outliers
from luab_data.statistics.dataset import compare

pandas.set_option("display.max_colwidth", None)
DATASET = "coco-ab"

# %% [markdown]
# ## Counts

# %%
stats = luab_data.stats(DATASET)
counts = {name: value for name, value in stats.counts.items() if name != "action_sequences"}
pandas.Series(counts, name="count", dtype=object).to_frame()

# %% [markdown]
# ## Statistics
#
# A placement is where an icon was at the end, after all its actions; the paper trains on the *last
# add*, which a later move or removal leaves behind. The interval comes from drawing whole workers
# with replacement. *null* is what the value would be without the effect.

# %%
frame = stats.to_frame()
numbers = ["title", "value", "low", "high", "n", "null", "unit"]
frame.loc[frame["axis"].isna() & frame["n"].notna(), numbers].round(3).reset_index(drop=True)

# %% [markdown]
# ## Where objects are
#
# COCO's objects are less in the middle than ImageNet's.

# %%
luab_data.draw("box_centres", DATASET).figure

# %% [markdown]
# ## Icons relative to the box (Fig. H)
#
# The final place of an icon from the centre of the box that holds it, else of the nearest box of
# its class; in box widths and heights, y down.

# %%
luab_data.draw("icon_offset", DATASET).figure

# %% [markdown]
# ## Sequences of actions (Fig. J)
#
# Of icons that are there at the end. A valid sequence starts with an add; after an add or a move
# comes a move or a removal, after a removal an add. Others occur when a page reloads its image.

# %%
stats.curve("action_sequences").to_pandas().sort_values("value", ascending=False).head(10)

# %%
luab_data.draw("sequences", DATASET).figure

# %% [markdown]
# ## Recall and size (Fig. K)
#
# Larger objects are found more often. Which classes are found more, or less, often than their size
# lets expect?

# %%
luab_data.draw("class_recall", DATASET).figure

# %%
size_outliers(stats.estimates["class_recall"], stats.estimates["class_size"])

# %%
luab_data.draw("recall_by_size", DATASET).figure

# %% [markdown]
# ## Browsing the icons
#
# Icons come in eleven groups, one shown at a time. The first is shown when the page opens and has
# no entry in the log.

# %%
luab_data.draw("superclasses", DATASET).figure

# %% [markdown]
# ## The paper and this dataset
#
# The column *paper* quotes; nothing in it was measured here. On a simulated dataset the two need
# not agree. Times are medians here.

# %%
pandas.DataFrame(compare(stats))
