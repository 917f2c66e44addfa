"""Bulk generation: many images of one model, reproducible and resumable, into a set on disk.

`job.py` is what is asked for, `record.py` keeps it beside the images, `run.py` makes them, and
`folder.py`, `archive.py` and `shards.py` are what the set looks like.
"""
