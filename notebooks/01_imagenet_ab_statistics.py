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
# # ImageNet-AB: every statistic and figure of the byproducts
#
# Annotators browsed pages of 48 pictures and clicked those that show a class. What their mouse did
# was logged. This notebook reads a converted dataset, prints every statistic with its 95 % interval
# and its null, and draws the figures of appendix E of the paper.
#
# It opens `imagenet-ab`: a folder here, or a name under `$LUAB_DATA_HOME`. `make demo` followed by
# the commands of the README makes a simulated one; `luab-data convert imagenet-ab
# imagenet_ab_v1_0.tar.gz --out imagenet-ab` makes the real one.

# %%
# %matplotlib inline
import pandas

import luab_data
from luab_data.statistics.dataset import compare
from luab_data.statistics.maps import mode_offset

pandas.set_option("display.max_colwidth", None)
DATASET = "imagenet-ab"

# %% [markdown]
# ## Counts

# %%
stats = luab_data.stats(DATASET)
pandas.Series(stats.counts, name="count", dtype=object).to_frame()

# %% [markdown]
# ## Statistics
#
# *value* is taken over *n* clicks, images or pictures. The interval comes from drawing whole
# workers with replacement, since clicks of one worker are not independent. *null* is what the value
# would be without the effect: for an accuracy, the same points dealt out to the images at random.

# %%
frame = stats.to_frame()
numbers = ["title", "value", "low", "high", "n", "null", "unit"]
frame.loc[frame["axis"].isna() & frame["n"].notna(), numbers].round(3).reset_index(drop=True)

# %% [markdown]
# ## Where objects are, and what random clicks would score (Fig. C)
#
# Photographers put objects in the middle. So a click in the middle of every picture is right for
# most of them, and accuracy alone says little; the random-click curve says how much of it the place
# of a click explains. At t = 0 it is the picture's centre, at t = 1 a point anywhere.

# %%
luab_data.draw("box_centres", DATASET).figure

# %%
luab_data.draw("random_clicks", DATASET).figure

# %% [markdown]
# ## Accuracy by place (Fig. D)
#
# By the cell of the box's centre (an image counts once a box), and by the cell of the click. Cells
# with few clicks are marked: their colours mean little.

# %%
luab_data.draw("accuracy_maps", DATASET)[0, 0].figure

# %% [markdown]
# ## Along the trace (Fig. E)
#
# The visit that ends in the final click, from where the mouse enters the picture. The first figure
# counts records back from the click, the second takes shares of the visit's records and of its
# time. The dashed lines deal the same points out to the images at random: where the curve leaves
# them, the mouse knows about this picture and not only about pictures.

# %%
luab_data.draw("last_n", DATASET).figure

# %%
luab_data.draw("quantiles", DATASET).figure

# %% [markdown]
# ## Clicks relative to the box (Fig. F)
#
# Offsets are in box widths and heights, y points down: to the right is positive, up is negative.

# %%
luab_data.draw("click_offset", DATASET).figure

# %%
mode_offset(stats["click_offset_density"])

# %% [markdown]
# ## Rounds, pages and slots
#
# A picture that nobody selected is shown again. Does the second look find as many? Does the place
# on the page matter, or the page of the HIT? By which side does the mouse enter and leave?

# %%
luab_data.draw("rounds", DATASET).figure

# %%
luab_data.draw("slots", DATASET)[0, 0].figure

# %%
luab_data.draw("pages", DATASET)[0, 0].figure

# %%
luab_data.draw("sides", DATASET).figure

# %% [markdown]
# ## The paper and this dataset
#
# The column *paper* quotes; nothing in it was measured here. On a simulated dataset the two need
# not agree. Times are medians here.

# %%
pandas.DataFrame(compare(stats))
