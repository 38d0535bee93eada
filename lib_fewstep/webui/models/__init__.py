"""Sampling models of every kind in the WebUI."""
