"""Batches and a model in, a complete run folder out."""
