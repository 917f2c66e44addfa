"""Measures of what a generator makes, in a classifier's features."""
