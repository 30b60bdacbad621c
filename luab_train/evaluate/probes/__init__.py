"""A model, images and their boxes go in; how much it leans on backgrounds comes out.

The order of the flow: pictures, views, probe.
"""
