"""Behaviour, tested through the public doors; the folders mirror the packages."""
