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
# # Calibration: can the bias of clicks be taken off, and does it help?
#
# The paper proposes to estimate the systematic bias of clicks and to correct it, and does not do
# so. Here the bias is learned on some clicks and taken off others: the mean of click - box centre,
# for each worker pulled towards the crowd. What counts is what happens on held-out clicks.
#
# Opens `imagenet-ab`: a folder here, or a name under `$LUAB_DATA_HOME`.

# %%
# %matplotlib inline
import pandas

import luab_data
from luab_data import calibration
from luab_data.calibration import ARMS, CRITERIA
from luab_data.figures import drawing, new_figure
from luab_data.figures.charts import draw_curve
from luab_data.statistics.paper import compare

pandas.set_option("display.max_colwidth", None)
DATASET = "imagenet-ab"

# %%
images = calibration.read_images(DATASET)
by_worker = calibration.evaluate(images, split_by="worker")
by_image = calibration.evaluate(images, split_by="image")

# %% [markdown]
# ## Held out
#
# Held-out workers get the crowd's bias, held-out images of known workers their worker's own. Two
# baselines: one shift for everybody, and a pull to the picture's centre. The pull raises accuracy
# where objects are in the middle and ruins it where they are not, so both are shown.

# %%
pandas.DataFrame(
    {
        "held out": o.title,
        "unit": o.unit,
        **dict(zip(ARMS, by_worker.values[o.name].value, strict=True)),
    }
    for o in CRITERIA
)

# %% [markdown]
# In words, chosen by the numbers. First for held-out workers, then for held-out images.

# %%
print(*by_worker.sentences, sep="\n")

# %%
print(*by_image.sentences, sep="\n")

# %% [markdown]
# ## Reliability
#
# A weight for each click from what is known without boxes: the worker, the time, how well the click
# agrees with the end of the trace. If it is any good, accuracy rises from the least to the most
# reliable quarter of the clicks.

# %%
with drawing():
    figure, ((ax,),) = new_figure()
    draw_curve(ax, [1.0, 2.0, 3.0, 4.0], by_image.ranking["quarter_accuracy"], label="clicks")
    ax.set(xlabel="quarter of reliability, least to most", ylabel="in a box, %")
    ax.set_xticks([1, 2, 3, 4])
figure

# %% [markdown]
# ## Applying it
#
# `fit` learns from all clicks on images with boxes, `apply` needs no boxes. Whether to use the
# result is what the numbers above are for.

# %%
calibrated = calibration.apply(calibration.fit(images), images)
calibrated.select(
    [
        *("image_id", "final_click_x", "calibrated_click_x", "final_click_y"),
        *("calibrated_click_y", "click_reliability"),
    ]
).slice(0, 5).to_pandas()

# %% [markdown]
# ## The paper and this dataset
#
# The paper has no calibrated clicks; this is what it prints of the raw ones.

# %%
names = ["click_accuracy", "off_centre_click_accuracy"]
pandas.DataFrame(compare(luab_data.stats(DATASET, names), names))
