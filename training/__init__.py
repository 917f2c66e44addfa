"""Training: recipes, data, the GAN step, the loop, checkpoints, and publishing to the zoo."""
