"""Images larger than the model was trained for: HiDiffusion and Deep Shrink."""

from lib_fewstep.highres.session import HighResSession, Report
from lib_fewstep.highres.settings import HighResSettings, ModelHints

__all__ = ["HighResSession", "HighResSettings", "ModelHints", "Report"]
