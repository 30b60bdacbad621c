"""COCO's validation images and a multi-label model go in; mAP, reliance on context, and where its
points fall come out. `evaluate` is the way in, `class_pixels` that for mPxAP.
"""
