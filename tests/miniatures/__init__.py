"""Benchmarks in their exact layouts, a few dozen small drawn images each, with known answers.

An image shows its class as a flat colour (`palette`); `Reader` in `network` is a model that reads
the colour of one patch. So what an oracle, a constant and a random model must score is known.
"""
