"""Comparisons of steps, CFG, samplers and methods, and the record of what an image cost."""
