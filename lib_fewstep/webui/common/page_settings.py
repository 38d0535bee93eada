"""What the section "Few-Step" of the WebUI's settings page holds."""

from __future__ import annotations

from dataclasses import dataclass

from lib_fewstep.compare.settings import MOST_CELLS
from lib_fewstep.highres.settings import PASSES
from lib_fewstep.options import SettingError, check, option, shown
from lib_fewstep.sampling.settings import GUIDANCES
from lib_fewstep.webui.common.log import LEVELS

FILE_NAME = "fewstep-record.csv"
GUIDANCE = "Guidance"
ACCORDIONS = ("HiDiffusion", "Few-Step", GUIDANCE, "Model sampling")


@dataclass(frozen=True)
class PageSettings:
    """The settings with their defaults; the WebUI keeps their values, under the key "fewstep_" and the name."""

    passes: str = option(
        "Auto",
        "Passes of HiDiffusion",
        "Default in the accordion, and in API requests that do not set it.",
        "",
        choices=PASSES,
    )
    guidance: str = option(
        GUIDANCES[0],
        "Guidance of CFG++ samplers",
        "Default in the accordion. Also used while the accordion is closed.",
        "",
        choices=GUIDANCES,
    )
    one_row: bool = option(
        True,
        "One row at CFG 1",
        "Where the negative prompt has no part in an image, it is not evaluated: nearly twice as fast.",
        "",
    )
    detect_kind: bool = option(
        True,
        "Kind of model from the checkpoint",
        "Reads from the file's header how a model is to be sampled: v-prediction, EDM and others.",
        "",
    )
    hidden_accordions: tuple[str, ...] = option(
        (),
        "Hidden accordions",
        "Not shown in txt2img and img2img. They still work over the API, from pasted infotexts and in plots.",
        "",
        values="names of this extension's accordions",
    )
    log: str = option(
        "All",
        "Lines in the console",
        "All reports what is done in each pass, or why nothing is done. Warnings reports only problems.",
        "",
        choices=tuple(LEVELS),
    )
    hidden_samplers: tuple[str, ...] = option(
        (),
        "Hidden samplers",
        "Not shown in the lists of sampling methods. They still work over the API and in pasted infotexts.",
        "",
        values="names of this extension's samplers",
    )
    record: bool = option(
        False,
        "Record what each image costs",
        f"Writes model evaluations and seconds into the infotext, and adds a row for each image to {FILE_NAME}.",
        "",
    )
    record_folder: str = option(
        "",
        "Folder of the record",
        f"Where {FILE_NAME} is written. Empty means the WebUI's output folder. Cannot be set over the API.",
        "",
        values="path of a folder",
    )
    most_images: int = option(
        1000,
        "Most images of a comparison",
        "A larger comparison is refused before its first image.",
        "",
        low=1,
        high=MOST_CELLS,
        step=1,
    )

    def __post_init__(self) -> None:
        """Raise SettingError for a value that is not allowed; the page offers none, a config file or a request may."""
        check(self)
        for setting in ("hidden_samplers", "hidden_accordions"):
            names = getattr(self, setting)
            if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
                raise SettingError(f"{setting} = {shown(names)} is not allowed: it must be a list of names.")
