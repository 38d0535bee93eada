"""What the WebUI loads: the script "Few-step comparison"."""

from lib_fewstep.webui import host

if host.supported():
    from lib_fewstep.webui.comparison import ComparisonScript

    __all__ = ["ComparisonScript"]
