"""Images larger than the model was trained for: HiDiffusion and Deep Shrink."""

from lib_fewstep.highres.methods import METHODS
from lib_fewstep.highres.methods.base import ModelHints, Pass
from lib_fewstep.highres.report import Report
from lib_fewstep.highres.session import HighResSession
from lib_fewstep.highres.settings import AXES, HighResSettings

__all__ = ["AXES", "METHODS", "HighResSession", "HighResSettings", "ModelHints", "Pass", "Report"]
