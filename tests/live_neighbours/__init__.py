"""The tests against a running WebUI that has other extensions installed: `make live-neighbours`."""
