"""Where the statistics of a prior come from: files of the WebUI's folder, or reference images."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lib_fewstep.options import SettingError, shown
from lib_fewstep.sampling.prior import Prior, load, measure, save
from lib_fewstep.sampling.settings import PriorSettings
from lib_fewstep.webui import host
from lib_fewstep.webui.log import log

SMALLEST = 8
NO_PRIOR = "None"


def saved_priors() -> list[str]:
    """The names of the statistics files that there are."""
    return sorted(path.name for path in host.prior_folder().glob("*.safetensors"))


def statistics(settings: PriorSettings) -> Prior:
    """The statistics that settings name, or those of their images; saved if they say so. Raises SettingError."""
    if settings.statistics:
        return load(_place(settings.statistics))
    with torch.no_grad():
        prior = measure([host.encoded(_opened(image)) for image in settings.images])
    if settings.save:
        save(prior, _place(settings.save))
        log.info("The statistics of %d images are saved as %s.", len(settings.images), settings.save)
    return prior


def _place(name: str) -> Path:
    """Where statistics of that name lie; a link could lead out of the folder, and is refused."""
    path = host.prior_folder() / PriorSettings.file(name)
    if path.is_symlink():
        raise SettingError(f"prior = {path.name} is not allowed: it must be a file, not a link.")
    return path


def _opened(image: Any) -> Image.Image:
    """A picture from base64 (with or without a data URL's head), or from an upload of the page."""
    try:
        source = io.BytesIO(_decoded(image)) if isinstance(image, str) else Path(image.name)
        picture = Image.open(source)
        picture.load()
    except (AttributeError, TypeError, ValueError, SyntaxError, OSError, Image.DecompressionBombError):
        raise _refused(image) from None
    if min(picture.size) < SMALLEST:
        raise _refused(image)
    return picture


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.partition(",")[2] or text, validate=True)


def _refused(image: Any) -> SettingError:
    return SettingError(
        f"prior.images has {shown(image)}, which is not allowed: it must be a picture in base64, of at least "
        f"{SMALLEST}x{SMALLEST} pixels."
    )
