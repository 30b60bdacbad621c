"""Clicks on images with boxes in; out comes what takes off their bias, and whether that helps."""
