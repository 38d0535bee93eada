"""Guidance: how strongly each step is guided, and what is made of the guided image."""

from lib_fewstep.guidance.nag import nag
from lib_fewstep.guidance.plan import Plan, Strength, interval_of, make_plan
from lib_fewstep.guidance.projection import AdaptiveProjection
from lib_fewstep.guidance.rescale import rescaled
from lib_fewstep.guidance.rows import Row, without_self_attention
from lib_fewstep.guidance.session import GuidanceSession
from lib_fewstep.guidance.settings import GuidanceSettings
from lib_fewstep.guidance.thresholding import thresholded

__all__ = [
    "AdaptiveProjection",
    "GuidanceSession",
    "GuidanceSettings",
    "Plan",
    "Row",
    "Strength",
    "interval_of",
    "make_plan",
    "nag",
    "rescaled",
    "thresholded",
    "without_self_attention",
]
