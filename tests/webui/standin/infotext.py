"""The text under an image: written, read back, and put into the fields of the UI."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.webui.standin.callbacks import reported, run_callbacks
from tests.webui.standin.strict import StrictModule, fake

_KEY = re.compile(r"(\w[\w \-/]+):\s*")
_DECODER = json.JSONDecoder()
_SIZE = re.compile(r"^(\d+)x(\d+)$")
_FEWEST_PAIRS = 3
VERSION = "v1.10.1"


def quote(value: Any) -> str:
    """The value as text, in quotes if it has a comma, a colon or a line break."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def unquote(text: str) -> str:
    """What `quote` has quoted."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _uses_ensd(p: Any) -> bool:
    """Whether the noise of the first pass's sampler follows the "eta noise seed delta"."""
    eta = p.sampler.eta if p.eta is None and p.sampler is not None else p.eta
    sampler = fake("modules.sd_samplers").find_sampler_config(p.sampler_name)
    return eta != 0 and bool(sampler.options.get("uses_ensd", False))


def create_infotext(
    p: Any,
    all_prompts: list[str],
    all_seeds: list[int],
    all_subseeds: list[int],
    comments: Any = None,
    iteration: int = 0,
    position_in_batch: int = 0,
    use_main_prompt: bool = False,
    index: int | None = None,
    all_negative_prompts: list[str] | None = None,
) -> str:
    """The text of the image `index` of the lists, which may be those of a batch or of the whole job."""
    in_the_job = iteration * p.batch_size + position_in_batch
    index = 0 if use_main_prompt else in_the_job if index is None else index
    negatives = p.all_negative_prompts if all_negative_prompts is None else all_negative_prompts
    prompt, negative = (p.main_prompt, p.main_negative_prompt) if use_main_prompt else (all_prompts[index], None)
    if negative is None:
        negative = negatives[index]
    known = {
        "p": p,
        "index": index,
        "prompt_text": prompt,
        "negative_prompt": negative,
        "all_prompts": all_prompts,
        "all_seeds": all_seeds,
        "all_subseeds": all_subseeds,
        "all_negative_prompts": negatives,
        "comments": comments,
        "iteration": iteration,
        "position_in_batch": position_in_batch,
        "use_main_prompt": use_main_prompt,
    }
    fields = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": (p.all_seeds if use_main_prompt else all_seeds)[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash,
        "Model": p.sd_model_name,
        "Denoising strength": None,
        "ENSD": fake("modules.shared").opts.eta_noise_seed_delta or None if _uses_ensd(p) else None,
        **p.extra_generation_params,
        "Version": VERSION,
    }
    values = {key: _of_image(key, value, index, known) for key, value in fields.items()}
    pairs = [key if key == value else f"{key}: {quote(value)}" for key, value in values.items() if value is not None]
    below = f"\nNegative prompt: {negative}" if negative else ""
    return f"{prompt}{below}\n{', '.join(pairs)}".strip()


def _of_image(key: str, value: Any, index: int, known: dict[str, Any]) -> Any:
    """A value of one image: a list has one for each, and a function is asked for it."""
    with reported(f"the infotext has no {key}"):
        if isinstance(value, list):
            return value[index]
        return value(**known) if callable(value) else value
    return None


class PasteField(tuple[Any, Any]):  # noqa: SLOT001 (the host gives it attributes)
    """A component and what of an infotext it takes: a key, or a function of all of them."""

    def __new__(cls, component: Any, target: Any, *, api: str | None = None) -> PasteField:
        """As a pair of both."""
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: Any, *, api: str | None = None) -> None:
        self.api = api
        self.component = component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


def parse_generation_parameters(text: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """The fields of an infotext; every value is a string."""
    *lines, last = text.strip().split("\n")
    pairs = _pairs(last)
    if len(pairs) < _FEWEST_PAIRS:
        lines, pairs = [*lines, last], []
    prompt, negative = _prompts(lines)
    fields: dict[str, Any] = {"Prompt": prompt, "Negative prompt": negative}
    for key, value in pairs:
        size = _SIZE.match(value)
        if size:
            fields[f"{key}-1"], fields[f"{key}-2"] = size.groups()
        else:
            fields[key] = value
    for key, value in {
        "Clip skip": "1",
        "Hires resize-1": 0,
        "Hires resize-2": 0,
        "Schedule type": "Automatic",
    }.items():
        fields.setdefault(key, value)
    return {key: value for key, value in fields.items() if key not in (skip_fields or [])}


def _pairs(line: str) -> list[tuple[str, str]]:
    """Every key of a line with its value, which ends at a comma unless it is quoted."""
    pairs, found = [], _KEY.search(line)
    while found:
        value, end = _value(line, found.end())
        pairs.append((found[1], value))
        found = _KEY.search(line, end)
    return pairs


def _value(line: str, start: int) -> tuple[str, int]:
    if line.startswith('"', start):
        try:
            quoted, end = _DECODER.raw_decode(line, start)
        except ValueError:
            pass
        else:
            return str(quoted), end
    end = line.find(",", start)
    end = len(line) if end < 0 else end
    return line[start:end], end


def _prompts(lines: list[str]) -> tuple[str, str]:
    text = "\n".join(line.strip() for line in lines)
    prompt, _, negative = f"\n{text}".partition("\nNegative prompt:")
    return prompt.strip(), negative.strip()


def paste(text: str, fields: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(component, new value) for each field that the text changes."""
    params = parse_generation_parameters(text)
    run_callbacks("infotext_pasted", text, params)
    changes = []
    for component, key in fields:
        value = None
        with reported(f"a paste field failed: {key}"):
            value = key(params) if callable(key) else params.get(key)
        changed, new = _cast(component, value)
        if changed:
            changes.append((component, new))
    return changes


def _cast(component: Any, value: Any) -> tuple[bool, Any]:
    """(whether something changes, the value): strings take the type of the component's value."""
    if value is None:
        return False, None
    if isinstance(value, dict):
        return "value" in value, value.get("value")
    kind = type(component.value)
    kind = float if kind is int else kind  # so the host has it
    if kind is bool:
        return True, value != "False" and bool(value)
    try:
        return True, kind(value)
    except (TypeError, ValueError):
        return False, None


def infotext_module() -> StrictModule:
    """`modules.infotext_utils`."""
    return StrictModule(
        "modules.infotext_utils",
        PasteField=PasteField,
        parse_generation_parameters=parse_generation_parameters,
        quote=quote,
        unquote=unquote,
    )
