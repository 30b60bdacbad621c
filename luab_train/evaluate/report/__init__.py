"""Evaluated models side by side: the paper's tables with our rows, paired differences, figures."""
