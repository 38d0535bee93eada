"""Sampling of the embedded checkpoints without a WebUI."""
