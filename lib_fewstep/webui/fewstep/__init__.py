"""The always-on script "Few-Step" and its samplers."""
