"""Every module of timm: our labels are timm's, every weight learns, maps lie as images do.

The smallest network of each; a few always, all of them with -m slow.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from luab_data.errors import OptionError
from luab_train.models.classifier import build_model, timm_config
from luab_train.models.weights import _WRAPPERS
from luab_train.recipe import Data, Model

FAMILIES = {
    "beit": "beit_base_patch16_224",
    "byoanet": "eca_botnext26ts_256",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_atto",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
