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
from lib_fewstep.sampling.settings import ONE_NUMBER, PIXELS, PriorSettings, is_file_name
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.log import log

SMALLEST, LARGEST = 8, 4096
NO_PRIOR = "None"
_PLAIN_SIDE = 64
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is read as a picture: Pillow hands others to programs, such as PostScript to Ghostscript."""


def saved_priors() -> list[str]:
    """The names of the statistics files that there are, of those that can be asked for."""
    paths = host.options.prior_folder().glob("*.safetensors")
    return sorted(path.name for path in paths if is_file_name(path.name) and not path.is_symlink())


def statistics(settings: PriorSettings) -> Prior:
    """The statistics that settings mean, those of their images saved if they say so. Raises SettingError."""
    with torch.no_grad():
        if settings.brightness == 0:
            return _measured(settings)
        offset = _plain(settings.brightness) - _plain(0.0)
        if settings.statistics or settings.images:
            return _measured(settings).shifted(offset)
        return Prior(offset, torch.zeros_like(offset))


def _measured(settings: PriorSettings) -> Prior:
    return load(_place(settings.statistics)) if settings.statistics else _of_images(settings)


def _of_images(settings: PriorSettings) -> Prior:
    latents = [host.images.encoded(_opened(image)) for image in settings.images]
    prior = measure(latents, of_pixels=settings.mean == PIXELS, one_deviation=settings.deviation == ONE_NUMBER)
    if settings.save:
        save(prior, _place(settings.save))
        log.info("The statistics of the images are saved as %s.", settings.save)
    return prior


def _plain(brightness: float) -> torch.Tensor:
    """The mean of each channel (c,) of a picture of one grey: -1 is black, 1 is white."""
    grey = round(255 * (1 + brightness) / 2)
    return host.images.encoded(Image.new("RGB", (_PLAIN_SIDE, _PLAIN_SIDE), (grey, grey, grey))).mean(dim=(1, 2))


def _place(name: str) -> Path:
    """Where statistics of that name lie; a link could lead out of the folder, and is refused."""
    path = host.options.prior_folder() / PriorSettings.file(name)
    if path.is_symlink():
        raise SettingError(f"prior = {path.name} is not allowed: it must be a file, not a link.")
    return path


def _opened(image: Any) -> Image.Image:
    """A picture from base64 (with or without a data URL's head), or from an upload of the page."""
    try:
        source = io.BytesIO(_decoded(image)) if isinstance(image, str) else Path(image.name)
        picture = Image.open(source, formats=_FORMATS)
        fits = min(picture.size) >= SMALLEST and max(picture.size) <= LARGEST
        if fits:
            picture.load()  # type: ignore[no-untyped-call]  # of the Pillow that the WebUI has
    except Exception:  # noqa: BLE001 (Pillow's decoders raise whatever they meet)
        fits = False
    if not fits:
        raise _refused(image)
    return picture


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.partition(",")[2] or text, validate=True)


def _refused(image: Any) -> SettingError:
    return SettingError(
        f"prior.images has {shown(image)}, which is not allowed: it must be a picture in base64, of "
        f"{SMALLEST}x{SMALLEST} to {LARGEST}x{LARGEST} pixels."
    )
