"""What a job wants of the way in which its models are sampled: an entry of the job's state."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_fewstep.models import ModelSettings
from lib_fewstep.webui.common.request import Request


@dataclass
class ModelRequest(Request):
    """The settings, which leave everything to the checkpoint's file where the script is off."""

    settings: ModelSettings = field(default_factory=ModelSettings)
