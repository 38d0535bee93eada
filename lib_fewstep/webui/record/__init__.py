"""The always-on script "Few-Step record"."""
