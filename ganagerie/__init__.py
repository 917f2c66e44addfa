"""Ganagerie's public face."""
