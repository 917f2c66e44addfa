"""The collapse monitor: what is observed of a run, and what it means."""
