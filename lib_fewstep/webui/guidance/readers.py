"""Where guidance yields: who else reads the unconditional rows of a pass, or decides what attention gives."""

from __future__ import annotations

from torch import nn

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.highres.token_counts import replaced_attention, replacing
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import blocks_of
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Sampler


def reader_of_uncond(sampler: Sampler, unet: nn.Module) -> str | None:
    """Who besides guidance reads the unconditional rows of a pass; None where nobody does."""
    if not host.denoiser.has_single_parts(sampler):
        return "AND, or a prompt's weight,"
    return reader_in_every_pass(unet)


def reader_in_every_pass(unet: nn.Module) -> str | None:
    """The same as far as it is known before a pass."""
    if host.options.previews_negative():
        return "the live preview of the negative prompt"
    return host.model.replaced_unet() or host.denoiser.listener_after_unet() or owner_of(unet)


def impossible(settings: GuidanceSettings) -> Sentence | None:
    """Why nothing of what is wanted can be done with the loaded model; None where it can."""
    if host.model.flow_model():
        return Sentence("the loaded model is a rectified flow (SD3)")
    if not settings.changes_attention:
        return None
    if host.model.unet_with_blocks() is None:
        return Sentence("the loaded model has no UNet of Stable Diffusion 1, 2 or XL")
    engine = host.model.replaced_unet()
    return None if engine is None else Sentence("{engine} runs instead of the loaded UNet", engine=engine)


def owner_of(unet: nn.Module) -> str | None:
    """Who has replaced the UNet's `forward` or its cross-attention, such as a regional prompter; None if nobody has."""
    replaced = replaced_attention(blocks_of(unet).items()) if unet is host.model.unet_with_blocks() else ()
    return replaced[0].name if replaced else replacing(unet)
