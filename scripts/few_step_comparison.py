"""What the WebUI loads: the script "Few-step comparison"."""

from lib_fewstep.webui.comparison import ComparisonScript

__all__ = ["ComparisonScript"]
