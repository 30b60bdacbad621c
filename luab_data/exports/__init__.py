"""Subsets with their images, in the formats that other tools read.

Enters: a dataset folder and a folder of images. Leaves: one new folder or file.

select           which rows, and their images: `Subset`
imagefolder      one file a format: a Subset in, files out
webdataset
coco_keypoints
target           a new folder or file that is either whole or not there
run              export: select, write, put in place
"""
