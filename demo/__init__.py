"""The embedded host: a small trained checkpoint, and commands that run the library on it without a WebUI."""
