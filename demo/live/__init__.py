"""The demo's counts in a running WebUI, over its API."""
