"""Subsets with their images, in the formats that other tools read.

Enters: a dataset folder and a folder of images. Leaves: one new folder or file.

select           which rows, and their images: `Subset`
points           what of an image is drawn, for each kind of log
imagefolder      one file a format: a Subset in, files out
webdataset
coco_keypoints
fiftyone
run              export: select, write, put in place
"""
