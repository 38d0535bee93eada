"""`modules.images`: what pictures carry besides their pixels."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageOps

from tests.webui.standin.strict import StrictModule

EXIF, USER_COMMENT = 0x8769, 0x9286
ENCODINGS = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16-be"}
OF_FORMATS = {
    "background",
    "chromaticity",
    "dpi",
    "duration",
    "exif",
    "icc_profile",
    "jfif",
    "jfif_unit",
    "jfif_version",
    "loop",
    "photoshop",
    "progression",
    "progressive",
    "timestamp",
}


def read(fp: Any, **kwargs: Any) -> Image.Image:
    """A picture the right way up, with what stands in its file."""
    image = Image.open(fp, **kwargs)
    return ImageOps.exif_transpose(image) or image


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict[str, Any]]:
    """(the infotext, whatever else the file says): from PNG's "parameters", EXIF's or GIF's comment."""
    items = dict(image.info or {})
    text = items.pop("parameters", None)
    if "exif" in items:
        text = _comment(image) or text
    elif "comment" in items:
        said = items["comment"]
        text = said.decode("utf8", errors="ignore") if isinstance(said, bytes) else said
    return text, {key: value for key, value in items.items() if key not in OF_FORMATS}


def _comment(image: Image.Image) -> str:
    said = image.getexif().get_ifd(EXIF).get(USER_COMMENT, b"")
    if isinstance(said, str):
        return said
    encoding = ENCODINGS.get(said[:8])
    return said[8:].decode(encoding, errors="ignore") if encoding else said.decode("utf8", errors="ignore")


def images_module() -> StrictModule:
    """`modules.images`."""
    return StrictModule("modules.images", read=read, read_info_from_image=read_info_from_image)
