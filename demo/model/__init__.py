"""The embedded checkpoints in the WebUI's layout, and their parts without a WebUI."""
