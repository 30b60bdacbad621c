r"""Clicks on images with boxes in; out comes what takes off their bias, and whether that helps.

    images = calibration.read_images("imagenet-ab")
    print(*calibration.evaluate(images).sentences, sep="\n")
    images = calibration.apply(calibration.fit(images), images)

`click_reliability` is made to be the weight of a point in a training loss.
"""

from luab_data.calibration.calibrate import Calibration as Calibration
from luab_data.calibration.calibrate import apply as apply
from luab_data.calibration.calibrate import evaluate as evaluate
from luab_data.calibration.calibrate import fit as fit
from luab_data.calibration.calibrate import read_images as read_images
from luab_data.calibration.held_out import ARMS as ARMS
from luab_data.calibration.held_out import CRITERIA as CRITERIA
