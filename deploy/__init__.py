"""How Ganagerie runs beyond one process."""
