"""Runs that are driven into collapse, runs that are not, and how the monitor judges them."""
