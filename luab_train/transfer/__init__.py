"""Detection from a trained ResNet: its weights and COCO instances in, a Mask R-CNN and its average
precision out. Begin with train.py.
"""
