"""Pictures and latents, and what a picture's infotext says."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from modules import devices, images, infotext_utils, sd_samplers_common, shared
from torch import Tensor

from lib_fewstep.webui.common.log import log


def encoded(image: Any) -> Tensor:
    """The latent (c, h, w) of a picture, cut to multiples of 8 pixels."""
    width, height = (side // 8 * 8 for side in image.size)
    pixels = np.asarray(image.convert("RGB").crop((0, 0, width, height)), dtype=np.float32) / 255
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(shared.device)
    latent: Tensor = sd_samplers_common.images_tensor_to_samples(batch)[0].float().cpu()
    return latent


def picture(latent: Tensor) -> Any:
    """The picture that a latent (4, h, w) decodes to, as the WebUI decodes its images."""
    with devices.autocast():
        return sd_samplers_common.single_sample_to_image(latent.to(shared.device), approximation=0)


def infotext_of(image: Any) -> dict[str, str]:
    """What an image's own infotext says, by key; empty where it has none, or one that the WebUI cannot read."""
    try:
        text, _ = images.read_info_from_image(image)
        return infotext_utils.parse_generation_parameters(text) if text else {}
    except Exception as error:  # noqa: BLE001 (anything may be written there)
        log.warning("The image's infotext cannot be read (%s).", error)
        return {}
