"""The session of a pass, beside whatever else works on the same model."""

from __future__ import annotations

import dataclasses

from lib_fewstep.highres import HighResSession, HighResSettings, ModelHints
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import UnsupportedModel
from lib_fewstep.webui.common import host


def planned_session(
    settings: HighResSettings, latent_size: tuple[int, int], steps: int, hints: ModelHints, rival: str | None
) -> HighResSession:
    """A session on the loaded UNet, without window attention where `rival` rearranges the same tokens.

    Raises SettingError and UnsupportedModel, as the session does, and UnsupportedModel where no model is loaded.
    """
    unet = host.model.loaded_unet()
    if unet is None:
        raise UnsupportedModel("No model with a UNet is loaded.")
    session = HighResSession(unet, settings, latent_size, steps, hints)
    if rival is None or not session.schedule.when("windows"):
        return session
    session = HighResSession(unet, dataclasses.replace(settings, window_attention=False), latent_size, steps, hints)
    session.report.notes.append(
        Sentence("window attention yields to {rival}, which works on the same blocks", rival=rival)
    )
    return session
