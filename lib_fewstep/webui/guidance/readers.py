"""Where guidance yields: who else reads the unconditional rows of a pass, or decides what attention gives."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from lib_fewstep.guidance import GuidanceSettings, without_self_attention
from lib_fewstep.guidance.settings import CONSTANT
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


def usable(
    settings: GuidanceSettings,
    unet: nn.Module,
    sampler: str,
    *,
    reads_uncond: bool,
    rival: str | None,
    listener: str | None,
) -> tuple[GuidanceSettings, list[str]]:
    """The settings without what the sampler or another extension leaves no room for, and what is said of that.

    `reads_uncond` is whether the sampler, called so, reads the unconditional image; `rival` is who else rearranges the
    tokens of self-attention, `listener` whose callback gets all rows of an evaluation.
    """
    said = []
    if reads_uncond and settings.schedule != CONSTANT:
        said.append(f"the schedule {settings.schedule} is left out: {sampler} is a schedule of guidance itself")
        settings = replace(settings, schedule=CONSTANT)
    owner = owner_of(unet)
    if owner is not None and settings.nag_scale > 0:
        said.append(f"NAG yields to {owner}")
        settings = replace(settings, nag_scale=0.0)
    counting = owner or listener
    if counting is not None and settings.adds_rows:
        said.append(f"PAG, SEG and SAG yield to {counting}")
        settings = replace(settings, pag_scale=0.0, seg_scale=0.0, sag_scale=0.0)
    if rival is not None and max(settings.seg_scale, settings.sag_scale) > 0:
        said.append(f"SEG and SAG yield to {rival}, which rearranges the tokens of self-attention")
        settings = replace(settings, seg_scale=0.0, sag_scale=0.0)
    for scale, place in without_self_attention(unet, settings).items():
        said.append(f"{scale} is left out: the loaded UNet has no self-attention in its part {place}")
        settings = replace(settings, **{scale: 0.0})  # type: ignore[arg-type]  # the names are those of numbers
    return settings, said


def owner_of(unet: nn.Module) -> str | None:
    """Who has replaced the UNet's `forward` or its cross-attention, such as a regional prompter; None if nobody has."""
    replaced = replaced_attention(blocks_of(unet).items()) if unet is host.model.unet_with_blocks() else ()
    return replaced[0].name if replaced else replacing(unet)
