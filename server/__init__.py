"""The server: requests in, batches through the generator, images out. Never loads torch."""
