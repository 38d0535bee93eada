"""What a job wants of guidance: an entry of the job's state."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.webui.common.request import Request


@dataclass
class GuidanceRequest(Request):
    """Guidance's settings, off where the script is; and whether a pass of the batch has used them."""

    settings: GuidanceSettings = field(default_factory=lambda: GuidanceSettings(enabled=False))
    acted: bool = False

    def begin_batch(self) -> None:
        """No pass of the batch has used anything yet."""
        super().begin_batch()
        self.acted = False
