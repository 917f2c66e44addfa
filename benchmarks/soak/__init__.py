"""A long mixed load on a real server, and what must hold after it."""
