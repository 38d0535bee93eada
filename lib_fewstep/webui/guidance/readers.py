"""Who else reads the unconditional rows of a pass, or decides what attention gives: there this extension yields."""

from __future__ import annotations

from torch import nn

from lib_fewstep.highres.token_counts import replaced_attention, replacing
from lib_fewstep.unet import blocks_of
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Sampler


def reader_of_uncond(sampler: Sampler, unet: nn.Module) -> str | None:
    """Who besides guidance reads the unconditional rows of a pass; None where nobody does."""
    if not host.denoiser.has_single_parts(sampler):
        return "AND, or a prompt's weight,"
    if host.options.previews_negative():
        return "the live preview of the negative prompt"
    return host.model.replaced_unet() or host.denoiser.listener_after_unet() or replacing(unet) or attention_owner(unet)


def attention_owner(unet: nn.Module) -> str | None:
    """Who has replaced the UNet's cross-attention, such as a regional prompter; None if nobody has."""
    replaced = replaced_attention(blocks_of(unet).items()) if unet is host.model.unet_with_blocks() else ()
    return replaced[0].name if replaced else None
