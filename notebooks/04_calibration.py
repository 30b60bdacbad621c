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
import matplotlib.pyplot as plt
import pandas

import luab_data
from luab_data import calibration
from luab_data.statistics.dataset import compare

pandas.set_option("display.max_colwidth", None)
DATASET = "imagenet-ab"

# %%
by_worker = luab_data.calibrate(DATASET, split="worker")
by_image = luab_data.calibrate(DATASET, split="image")

# %% [markdown]
# ## Held out
#
# Held-out workers get the crowd's bias, held-out images of known workers their worker's own. Two
# baselines: one shift for everybody, and a pull to the picture's centre. The pull raises accuracy
# where objects are in the middle and ruins it where they are not, so both are shown.

# %%
frame = by_worker.to_frame()
points = frame[~frame["arm"].str.contains(" - ")]
points.pivot(index=["criterion", "unit"], columns="arm", values="value").round(3)

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
quarters = by_image.ranking["quarter_accuracy"]
value, low, high = (100 * numbers for numbers in (quarters.value, quarters.low, quarters.high))
figure, ax = plt.subplots(figsize=(3.4, 2.4), layout="constrained")
ax.errorbar([1, 2, 3, 4], value, yerr=[value - low, high - value], marker="o", capsize=2)
ax.set(xlabel="quarter of reliability, least to most", ylabel="in a box, %", xticks=[1, 2, 3, 4])
plt.show()

# %% [markdown]
# ## Applying it
#
# `fit` learns from all clicks on images with boxes, `apply` needs no boxes. Whether to use the
# result is what the numbers above are for.

# %%
images = calibration.read_images(DATASET)
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
