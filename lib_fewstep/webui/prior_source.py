"""Where the statistics of a prior come from: files of the WebUI's folder, or reference images."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from lib_fewstep.options import SettingError, shown
from lib_fewstep.sampling.prior import Prior, load, measure, save
from lib_fewstep.sampling.settings import PriorSettings
from lib_fewstep.webui import host
from lib_fewstep.webui.log import log


def saved_priors() -> list[str]:
    """The names of the statistics files that there are."""
    return sorted(path.name for path in host.prior_folder().glob("*.safetensors"))


def statistics(settings: PriorSettings) -> Prior:
    """The statistics that settings name, or those of their images; saved if they say so. Raises SettingError."""
    folder = host.prior_folder()
    if settings.statistics:
        return load(folder / PriorSettings.file(settings.statistics))
    with torch.no_grad():
        prior = measure([host.encoded(_opened(image)) for image in settings.images])
    if settings.save:
        save(prior, folder / PriorSettings.file(settings.save))
        log.info("The statistics of %d images are saved as %s.", len(settings.images), settings.save)
    return prior


def _opened(image: Any) -> Image.Image:
    """A picture from base64 (with or without a data URL's head), from an upload of the page, or as it is."""
    if isinstance(image, Image.Image):
        return image
    try:
        if isinstance(image, str):
            return Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2] or image, validate=True)))
        return Image.open(Path(image.name))
    except (AttributeError, TypeError, binascii.Error, UnidentifiedImageError, OSError):
        raise SettingError(
            f"prior.images has {shown(image)}, which is not allowed: it must be a picture in base64."
        ) from None
