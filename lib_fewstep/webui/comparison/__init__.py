"""The script "Few-step comparison"."""
