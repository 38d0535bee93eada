"""`modules.images`: pictures in grids and files, and what they carry besides their pixels."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from tests.webui.standin.callbacks import ImageGridLoopParams, ImageSaveParams, run_callbacks
from tests.webui.standin.strict import StrictModule, fake

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
NOT_IN_NAMES = re.compile(r"""[#<>:"/\\|?*\n\r\t]""")
LONGEST_PART = 128
PLACEHOLDER = re.compile(r"\[(\w+)\]")
PLACEHOLDERS: dict[str, Callable[[Any], Any]] = {
    "seed": lambda file: file["seed"],
    "prompt": lambda file: _part(file["prompt"], spaces=False),
    "prompt_spaces": lambda file: _part(file["prompt"]),
    "prompt_words": lambda file: _words(file["prompt"]),
    "date": lambda file: time.strftime("%Y-%m-%d"),
    "steps": lambda file: file["p"].steps,
    "cfg": lambda file: file["p"].cfg_scale,
    "width": lambda file: file["image"].width,
    "height": lambda file: file["image"].height,
    "none": lambda file: "",
}


def from_tensor(pixels: Tensor) -> Image.Image:
    """A picture of (3, height, width) from 0 to 1; fractions are cut off, as in the host."""
    return Image.fromarray((255.0 * pixels.cpu().permute(1, 2, 0).numpy()).astype(np.uint8))


def image_grid(imgs: list[Any], batch_size: int = 1, rows: int | None = None) -> Image.Image:
    """One picture of several, row by row; smaller ones stand in the middle of their place."""
    opts = fake("modules.shared").opts
    if rows is None:
        rows = opts.n_rows or batch_size
        if rows < 0:
            divisors = [n for n in range(1, math.isqrt(len(imgs)) + 1) if len(imgs) % n == 0]
            rows = divisors[-1] if opts.grid_prevent_empty_spots else round(math.sqrt(len(imgs)))
    rows = min(rows, len(imgs))
    params = ImageGridLoopParams(imgs, math.ceil(len(imgs) / rows), rows)
    run_callbacks("image_grid", params)
    width, height = (max(image.size[axis] for image in imgs) for axis in (0, 1))
    colour = ImageColor.getcolor(opts.grid_background_color, "RGB")
    grid = Image.new("RGB", (params.cols * width, params.rows * height), colour)
    for index, image in enumerate(params.imgs):
        row, column = divmod(index, params.cols)
        corner = column * width + (width - image.width) // 2, row * height + (height - image.height) // 2
        grid.paste(image, corner)
    return grid


def save_image(
    image: Any,
    path: str,
    basename: str,
    seed: Any = None,
    prompt: str | None = None,
    extension: str = "png",
    info: str | None = None,
    short_filename: bool = False,
    no_prompt: bool = False,
    grid: bool = False,
    pnginfo_section_name: str = "parameters",
    p: Any = None,
    existing_info: dict[str, Any] | None = None,
    forced_filename: str | None = None,
    suffix: str = "",
    save_to_dirs: bool | None = None,
) -> tuple[str, str | None]:
    """Write a picture with its text; the paths of the picture and of a text file, if the settings want one.

    Of the placeholders in names there are few; `suffix` is for a name of the host's making only.
    """
    opts, file = fake("modules.shared").opts, {"seed": seed, "prompt": prompt, "p": p, "image": image}
    if save_to_dirs is None:
        save_to_dirs = opts.grid_save_to_dirs if grid else opts.save_to_dirs and not no_prompt
    folder = Path(path)
    if save_to_dirs:
        folder /= _filled(opts.directories_filename_pattern or "[prompt_words]", file).strip(" /\\")
    folder.mkdir(parents=True, exist_ok=True)
    name = forced_filename
    if name is None:
        pattern = opts.samples_filename_pattern or ("[seed]" if opts.save_to_dirs else "[seed]-[prompt_spaces]")
        decoration = "" if short_filename or seed is None else _filled(pattern, file)
        name = _numbered(folder, basename, decoration + suffix, extension)
    texts = {} if existing_info is None else existing_info
    if info is not None:
        texts[pnginfo_section_name] = info
    params = ImageSaveParams(image, p, str(folder / f"{name}.{extension}"), texts)
    run_callbacks("before_image_saved", params)
    said = params.pnginfo.get(pnginfo_section_name)
    _write(params.image, _free(Path(params.filename)), {**params.pnginfo, pnginfo_section_name: said}, said)
    params.image.already_saved_as = params.filename
    beside = None
    if opts.save_txt and said is not None:
        beside = str(Path(params.filename).with_suffix(".txt"))
        Path(beside).write_text(f"{said}\n", encoding="utf8")
    run_callbacks("image_saved", params)
    return params.filename, beside


def _part(text: str | None, *, spaces: bool = True) -> str | None:
    """A text as a part of a file's name."""
    if text is None:
        return None
    cut = NOT_IN_NAMES.sub("_", text if spaces else text.replace(" ", "_")).lstrip(" ")[:LONGEST_PART]
    return cut.rstrip(" .")


def _words(text: str | None) -> str | None:
    most = fake("modules.shared").opts.directories_max_prompt_words
    return _part(" ".join(re.findall(r"[^\W_]+", text or "")[:most]) or "empty", spaces=False)


def _filled(pattern: str, file: dict[str, Any]) -> str:
    def value(found: re.Match[str]) -> str:
        known = PLACEHOLDERS.get(found[1].lower())
        said = known(file) if known else None
        return found[0] if said is None else str(said)

    return PLACEHOLDER.sub(value, pattern)


def _numbered(folder: Path, basename: str, decoration: str, extension: str) -> str:
    """A name with the next number of the folder in it, if the settings want that or there is nothing else."""
    if decoration and not fake("modules.shared").opts.save_images_add_number:
        return decoration
    start = f"{basename}-" if basename else ""
    parts = [file.stem[len(start) :].split("-")[0] for file in folder.iterdir() if file.name.startswith(start)]
    number = max((int(part) for part in parts if part.isdigit()), default=-1) + 1
    end = f"-{decoration}" if decoration else ""
    return f"{start}{number:0{4 if basename else 5}}{end}"


def _free(path: Path) -> Path:
    """Where to write: the settings say whether over what is there."""
    count, free = 0, path
    while fake("modules.shared").opts.save_images_replace_action != "Replace" and free.exists():
        count += 1
        free = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return free


def _write(image: Image.Image, path: Path, texts: dict[str, Any], said: str | None) -> None:
    """One file; only PNG has all of the texts."""
    opts, extension = fake("modules.shared").opts, path.suffix.lower()
    kind = Image.registered_extensions()[extension]
    more: dict[str, Any] = {}
    if extension == ".png" and opts.enable_pnginfo:
        more["pnginfo"] = PngInfo()
        for key, value in texts.items():
            more["pnginfo"].add_text(key, str(value))  # "None" where there is no infotext, as the host has it
    elif extension in (".jpg", ".jpeg", ".webp"):
        image = image.convert("RGB") if image.mode == "RGBA" else image
        more["lossless"] = opts.webp_lossless
        if opts.enable_pnginfo and said is not None:
            exif = Image.Exif()
            exif[EXIF] = {USER_COMMENT: b"UNICODE\0" + said.encode("utf-16-be")}
            more["exif"] = exif.tobytes()
    image.save(path, kind, quality=opts.jpeg_quality, **more)


def read(fp: Any, **kwargs: Any) -> Image.Image:
    """A picture the right way up, with what stands in its file."""
    image = Image.open(fp, **kwargs)
    return ImageOps.exif_transpose(image) or image


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict[str, Any]]:
    """(the infotext, whatever else the file says): from PNG's "parameters" or EXIF's comment."""
    items = dict(image.info or {})
    text = items.pop("parameters", None)
    if "exif" in items:
        text = _comment(image) or text
    return text, {key: value for key, value in items.items() if key not in OF_FORMATS}


def _comment(image: Image.Image) -> str:
    said = image.getexif().get_ifd(EXIF).get(USER_COMMENT, b"")
    if isinstance(said, str):
        return said
    encoding = ENCODINGS.get(said[:8])
    return said[8:].decode(encoding, errors="ignore") if encoding else said.decode("utf8", errors="ignore")


def images_module() -> StrictModule:
    """`modules.images`."""
    return StrictModule(
        "modules.images",
        image_grid=image_grid,
        read=read,
        read_info_from_image=read_info_from_image,
        save_image=save_image,
    )
