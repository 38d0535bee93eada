"""Larger images and fewer steps for the model that the Stable Diffusion WebUI has loaded."""
