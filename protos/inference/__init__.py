"""The Open Inference Protocol, as far as this server speaks it."""
