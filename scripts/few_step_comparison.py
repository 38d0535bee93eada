"""What the WebUI loads: the script "Few-step comparison"."""

from lib_fewstep.webui.common import host

if host.supported():
    from lib_fewstep.webui.comparison.script import ComparisonScript

    __all__ = ["ComparisonScript"]
