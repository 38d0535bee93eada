"""The always-on script "HiDiffusion"."""
