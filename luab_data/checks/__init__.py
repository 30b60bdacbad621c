"""Is a dataset folder whole, and does the behaviour in it make sense: start with check.py."""
