"""Infotexts of the extension "Kohya Hires.fix" (sd-webui-kohya-hiresfix), whose method is Deep Shrink."""

from __future__ import annotations

from collections.abc import Mapping

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import options_of

_MARK = "DSHF_s1"
_SETTINGS = {
    "DSHF_d1": "d1",
    "DSHF_d2": "d2",
    "DSHF_s1": "s1",
    "DSHF_s2": "s2",
    "DSHF_scaler": "scaler",
    "DSHF_down": "downscale",
    "DSHF_up": "upscale",
    "DSHF_smooth": "smooth_scaling",
    "DSHF_early": "early_out",
}
_PASSES = {"True": "First", "False": "All"}


def as_own_parameters(parameters: Mapping[str, str]) -> Mapping[str, str]:
    """An infotext's parameters; those of Kohya Hires.fix as this extension would have written them.

    It acts at any size, and where DSHF_one is True on the first pass only.
    """
    if _MARK not in parameters:
        return parameters
    values = {"method": "Deep Shrink", "preset": "Manual"}
    values |= {name: parameters[key] for key, name in _SETTINGS.items() if key in parameters}
    if parameters.get("DSHF_one") in _PASSES:
        values["passes"] = _PASSES[parameters["DSHF_one"]]
    options = options_of(HighResSettings)
    return {**{options[name].infotext: value for name, value in values.items()}, **parameters}
