"""Training of the embedded checkpoints on drawn pictures, on the CPU."""
