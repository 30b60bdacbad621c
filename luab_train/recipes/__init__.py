"""Our recipes, one module a dataset; imported by name (`imagenet_ab:resnet50`), never by the
library.
"""
