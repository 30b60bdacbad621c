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
# # Ways of looking at the same images
#
# An icon dragged onto an object, a mouse that follows a spoken description, a mouse that uncovers a
# blurred picture: three records of where people's attention was, of the same COCO images. This
# notebook joins them by image and asks how well each predicts the others.
#
# It opens `coco-ab`, `narratives` and `salicon`, made by `luab-data convert coco-ab`, `convert
# localized-narratives` and `convert salicon`. **The committed outputs are of simulated records**:
# they show what is computed, and say nothing about people.

# %%
# %matplotlib inline
import pandas

import luab_data

SOURCES = ["coco-ab", "narratives", "salicon"]

# %% [markdown]
# ## One table
#
# A row a view: one image shown once to one person, whatever it was shown for.

# %%
attention = luab_data.join_attention(SOURCES)
attention

# %%
views = attention.to_frame()
views["points"] = views["x"].map(len)
views.groupby("source").agg(
    images=("image_id", "nunique"),
    views=("image_id", "size"),
    people=("worker_id", "nunique"),
    points=("points", "sum"),
)

# %% [markdown]
# ## Agreement
#
# Each source's points on an image become a map. `predicts` is the source whose map it is,
# `predicted` the one whose points, or map, it should tell. NSS, AUC and CC are large where they
# agree, KL is small. *null* is the same with the map of another image: people look at the middle.
# A source against itself is one half of its people against the other half, which is what a model of
# it could reach; COCO-AB has one person an image, so it has none.

# %%
found = luab_data.agreement(attention)
table = found.to_frame()
table[table["metric"].isin(["nss", "auc_judd"])].round(3).reset_index(drop=True)

# %%
figure = found.figure()
figure

# %% [markdown]
# ## How far above chance
#
# The share of the way from the null to the best that the predicted source allows itself.

# %%
nss = table[table["metric"] == "nss"].set_index(["predicts", "predicted"])
ceiling = nss["value"].loc[[(name, name) for name in SOURCES]].droplevel("predicts")
above = (nss["value"] - nss["null"]) / (ceiling.reindex(nss.index, level="predicted") - nss["null"])
pandas.DataFrame({"share": above.round(2)}).unstack("predicted")
