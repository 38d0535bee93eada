"""The always-on script "Guidance"."""
