"""A class of UNet that YAML files of converted checkpoints name: the WebUI's own, without the middle block."""

from __future__ import annotations

from typing import Any

from ldm.modules.diffusionmodules.openaimodel import TimestepEmbedSequential, UNetModel


class UNetWithoutMiddle(UNetModel):  # type: ignore[misc]  # of a package without types
    """Whose deepest feature map goes from the way down to the way up as it is, as BK-SDM-Small and SDXS have it."""

    def __init__(self, **layout: Any) -> None:
        """The arguments of the WebUI's class."""
        super().__init__(**layout)
        self.middle_block = TimestepEmbedSequential()
