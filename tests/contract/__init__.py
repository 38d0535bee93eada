"""The contract between the stand-in and the real WebUI: one set of tests for both.

Without more it is tested on the stand-in. `make contract WEBUI_DIR=...` tests it on the modules of a WebUI 1.10.1, too.
"""
