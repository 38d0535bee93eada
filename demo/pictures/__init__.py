"""Drawn pictures, and what is seen in a picture by its pixels alone."""
