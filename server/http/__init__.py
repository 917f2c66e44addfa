"""Doors that speak HTTP."""
