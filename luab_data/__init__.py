"""Annotation byproducts as datasets: raw logs of ImageNet-AB and COCO-AB in, typed Parquet out."""

from luab_data import calibrate as calibrate
from luab_data import splits as splits
from luab_data.boxes import LabelledImage as LabelledImage
from luab_data.boxes import read_boxes as read_boxes
from luab_data.boxes import read_labelled_images as read_labelled_images
from luab_data.convert import convert_coco as convert_coco
from luab_data.convert import convert_imagenet as convert_imagenet
from luab_data.errors import LuabError as LuabError
from luab_data.join.joined import join_images as join_images
from luab_data.publish.load import find_dataset as find_dataset
from luab_data.publish.load import load_dataset as load_dataset
from luab_data.publish.load import read_table as read_table
from luab_data.simulate.coco import simulate_coco as simulate_coco
from luab_data.simulate.imagenet import simulate_imagenet as simulate_imagenet
from luab_data.stats import stats as stats
