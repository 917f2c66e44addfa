"""A run shown to people: live in a terminal, and as a page."""
