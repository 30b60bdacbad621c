"""A dataset folder and its images in, batches of tensors with points out."""
