"""Images larger than the model was trained for: HiDiffusion and Deep Shrink."""

from lib_fewstep.hires.session import HiResSession, Report
from lib_fewstep.hires.settings import HiResSettings, ModelHints

__all__ = ["HiResSession", "HiResSettings", "ModelHints", "Report"]
