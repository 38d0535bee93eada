"""The X/Y/Z plot: a script module of the host that is loaded before those of extensions."""

from __future__ import annotations

import copy
import csv
import itertools
import random
import re
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np

from tests.webui.standin.infotext import create_infotext
from tests.webui.standin.probe import Job, probe
from tests.webui.standin.processing import SEEDS, Processed, fix_seed, process_images
from tests.webui.standin.scripts import Script, ScriptClassData
from tests.webui.standin.strict import StrictModule, fake

NOTHING, TITLE, PATH = "Nothing", "X/Y/Z plot", "/webui/scripts/xyz_grid.py"
NAMES = ("x", "y", "z")
SEED_AXES = ("Seed", "Var. seed")
AxisInfo = namedtuple("AxisInfo", ["axis", "values"])  # noqa: PYI024 (the host's kind)


def format_value_add_label(p: Any, opt: Any, x: Any) -> str:
    """How a cell is labelled."""
    return f"{opt.label}: {format_value(p, opt, x)}"


def format_value(p: Any, opt: Any, x: Any) -> Any:
    """How a cell is labelled, without the axis: the value itself, a float not too long."""
    return round(x, 8) if type(x) is float else x


def apply_field(field: str) -> Callable[[Any, Any, Any], None]:
    """An axis that sets a field of the job."""
    return lambda p, x, xs: setattr(p, field, x)


def csv_string_to_list_strip(data_str: str) -> list[str]:
    """The values of a text with commas, where quotes keep one together; none of an empty text."""
    return [value.strip() for line in csv.reader(StringIO(data_str), skipinitialspace=True) for value in line]


@dataclass(eq=False)
class AxisOption:
    """An axis that users can choose."""

    label: str
    type: Callable[[str], Any]
    apply: Callable[[Any, Any, Any], None]
    format_value: Callable[[Any, Any, Any], Any] = format_value_add_label
    confirm: Callable[[Any, list[Any]], None] | None = None
    cost: float = 0.0
    choices: Callable[[], list[str]] | None = None
    prepare: Callable[[str], list[str]] | None = None


class AxisOptionTxt2Img(AxisOption):
    """Only in txt2img."""

    is_img2img = False


class AxisOptionImg2Img(AxisOption):
    """Only in img2img."""

    is_img2img = True


FIELDS = (
    ("Seed", int, "seed", AxisOption),
    ("Var. seed", int, "subseed", AxisOption),
    ("Steps", int, "steps", AxisOption),
    ("Hires steps", int, "hr_second_pass_steps", AxisOptionTxt2Img),
    ("CFG Scale", float, "cfg_scale", AxisOption),
    ("Denoising", float, "denoising_strength", AxisOption),
)


class XYZScript(Script):
    """The selectable script, without its components: the stand-in runs its cells by `plot`."""

    current_axis_options: Any = None

    def title(self) -> str:
        """The script's name."""
        return TITLE

    def ui(self, is_img2img: bool) -> None:
        """Note the axes that the page offers from now on: those that extensions have put in before."""
        self.current_axis_options = _offered(is_img2img)

    def run(self, p: Any, *args: Any) -> None:
        """Not by this way."""
        raise NotImplementedError("the stand-in makes a plot by host.xyz")


def _confirm_samplers(p: Any, names: list[str]) -> None:
    for name in names:
        if name.lower() not in fake("modules.sd_samplers").samplers_map:
            raise RuntimeError(f"there is no sampler {name!r}")


def _confirm_checkpoints(p: Any, names: list[str]) -> None:
    for name in names:
        if fake("modules.sd_models").get_closet_checkpoint_match(name) is None:
            raise RuntimeError(f"there is no checkpoint {name!r}")


def _apply_checkpoint(p: Any, name: str, names: list[str]) -> None:
    p.override_settings["sd_model_checkpoint"] = fake("modules.sd_models").get_closet_checkpoint_match(name).name


def _apply_prompt(p: Any, text: str, texts: list[str]) -> None:
    if texts[0] not in p.prompt and texts[0] not in p.negative_prompt:
        raise RuntimeError(f"{texts[0]!r} is in no prompt")
    p.prompt, p.negative_prompt = (old.replace(texts[0], text) for old in (p.prompt, p.negative_prompt))


def _sampler_axis(kind: type[AxisOption]) -> AxisOption:
    def names() -> list[str]:
        return [sampler.name for sampler in fake("modules.sd_samplers").visible_samplers()]

    return kind("Sampler", str, apply_field("sampler_name"), format_value, _confirm_samplers, choices=names)


def _scheduler_labels() -> list[str]:
    return [scheduler.label for scheduler in fake("modules.sd_schedulers").schedulers]


def _checkpoint_titles() -> list[str]:
    return sorted(fake("modules.sd_models").checkpoints_list, key=str.casefold)


def fresh_module() -> StrictModule:
    """The script's module, as a start or a reload of the UI makes it; it has some of the host's axes."""
    return StrictModule(
        "xyz_grid.py",
        AxisInfo=AxisInfo,
        AxisOption=AxisOption,
        AxisOptionImg2Img=AxisOptionImg2Img,
        AxisOptionTxt2Img=AxisOptionTxt2Img,
        Script=XYZScript,
        apply_field=apply_field,
        axis_options=[
            AxisOption(NOTHING, str, lambda p, x, xs: None, lambda p, opt, x: ""),
            *(kind(label, number, apply_field(name)) for label, number, name, kind in FIELDS),
            AxisOption("Prompt S/R", str, _apply_prompt, format_value),
            _sampler_axis(AxisOptionTxt2Img),
            _sampler_axis(AxisOptionImg2Img),
            AxisOption(
                "Checkpoint name",
                str,
                _apply_checkpoint,
                confirm=_confirm_checkpoints,
                cost=1.0,
                choices=_checkpoint_titles,
            ),
            AxisOption("Schedule type", str, apply_field("scheduler"), choices=_scheduler_labels),
        ],
        csv_string_to_list_strip=csv_string_to_list_strip,
        format_value=format_value,
        format_value_add_label=format_value_add_label,
    )


def load() -> None:
    """Put the script into the host's list."""
    data = ScriptClassData(XYZScript, PATH, "/webui", fresh_module())
    fake("modules.scripts").scripts_data.append(data)


def _offered(is_img2img: bool) -> list[Any]:
    """The axes of a tab."""
    modules = [d.module for d in fake("modules.scripts").scripts_data if d.path == PATH]
    if not modules:
        raise LookupError("this host has no X/Y/Z plot")
    return [axis for axis in modules[0].axis_options if type(axis) is AxisOption or axis.is_img2img == is_img2img]


def find_axis(label: str, is_img2img: bool = False) -> Any:
    """The axis of that label."""
    offered = _offered(is_img2img)
    axes = [axis for axis in offered if axis.label == label]
    if len(axes) != 1:
        raise LookupError(f"{len(axes)} axes are called {label!r}: {[axis.label for axis in offered]}")
    return axes[0]


@dataclass
class Cell:
    """One cell: what it has made and by which job, the labels of its values, and what it has raised."""

    processed: Processed
    p: Any
    labels: list[Any] = field(default_factory=list)
    job: Job | None = None
    error: BaseException | None = None


@dataclass
class Axis:
    """One of the three axes of a plot: which one, its values, their labels, and the values as the user gave them."""

    option: Any
    values: list[Any]
    given: Any
    labels: list[Any] = field(default_factory=list)


def plot(p: Any, chosen: dict[str, str | list[str]], is_img2img: bool) -> list[Cell]:
    """The cells of a plot, in the order of `itertools.product` over the axes as given.

    They are run in the host's order, z outermost and x innermost, or the axis of the highest cost outermost. What the
    axes raise in `confirm`, `format_value` and `apply` ends the plot. There is no grid of them, and none is saved.
    """
    shared = fake("modules.shared")
    fix_seed(p)
    if not shared.opts.return_grid:
        p.batch_size = 1
    axes = _axes(p, chosen, is_img2img)
    count = _count(axes)
    if round(count * p.width * p.height / 1000000) >= shared.opts.img_max_size_mp:
        raise AssertionError("the grid would be too large")
    for axis in axes:
        if axis.option.label in SEED_AXES:
            axis.values = [_fixed(value) for value in axis.values]
    shared.total_tqdm.updateTotal(_total_steps(p, axes))
    for name, axis in zip(NAMES, axes, strict=True):
        vars(shared.state)[f"xyz_plot_{name}"] = AxisInfo(axis.option, axis.values)
    try:
        for axis in axes:
            axis.labels = [axis.option.format_value(p, axis.option, value) for value in axis.values]
        shared.state.job_count = count * p.n_iter
        cells = dict(_run_all(p, axes))
    finally:
        fake("modules.sd_models").reload_model_weights()
    return [cells[place] for place in itertools.product(*(range(len(axis.values)) for axis in axes))]


def _axes(p: Any, chosen: dict[str, str | list[str]], is_img2img: bool) -> list[Axis]:
    """All three, with what the user has not chosen filled up; all values are read before anything is made."""
    if len(chosen) > len(NAMES):
        raise TypeError("a plot has three axes")
    from_dropdowns = any(isinstance(given, list) for given in chosen.values())
    axes = []
    for label, given in itertools.islice(itertools.chain(chosen.items(), 3 * [(NOTHING, "")]), 3):
        option = find_axis(label, is_img2img)
        axes.append(Axis(option, _values(p, option, given, from_dropdowns), given))
    return axes


def _values(p: Any, option: Any, given: str | list[str], from_dropdowns: bool) -> list[Any]:
    """The values of an axis, from the dropdown of its choices or from its text."""
    if option.label == NOTHING:
        return [0]
    if isinstance(given, list) != (from_dropdowns and option.choices is not None):
        kind = "a list" if isinstance(given, list) else "text"
        raise TypeError(
            f"{option.label!r} cannot have {kind}: with lists, all axes with choices have one, and no other"
        )
    if isinstance(given, list):
        unknown = [value for value in given if value not in option.choices()]
        if unknown:
            raise ValueError(f"{unknown} are no choices of {option.label!r}")
        listed = given
    else:
        listed = option.prepare(given) if option.prepare is not None else csv_string_to_list_strip(given)
    if option.type in (int, float):
        listed = [value for text in listed for value in _expanded(text, option.type)]
    values = [option.type(value) for value in listed]
    if option.confirm:
        option.confirm(p, values)
    return values


def _expanded(text: str, kind: Any) -> list[Any]:
    """The numbers that "1-5", "1-5 (+2)" and "1-10 [5]" stand for; anything else is left as it is, blanks left out."""
    digits = r"\d+" if kind is int else r"\d+(?:\.\d*)?"
    number = rf"([+-]?\s*{digits})"
    found = re.fullmatch(rf"\s*{number}\s*-\s*{number}\s*(?:\(([+-]{digits})\s*\)|\[(\d+)\s*\])?\s*", text)
    if not text.strip():
        return []
    if found is None:
        return [text]
    start, end, step = kind(found[1]), kind(found[2]), kind(found[3] or 1)
    if found[4]:
        return [kind(value) for value in np.linspace(start, end, int(found[4])).tolist()]
    return list(range(start, end + 1, step)) if kind is int else np.arange(start, end + step, step).tolist()


def _fixed(seed: Any) -> Any:
    return random.SystemRandom().randrange(SEEDS) if seed in (None, "", -1) else seed


def _count(axes: list[Axis]) -> int:
    return int(np.prod([len(axis.values) for axis in axes]))


def _total_steps(p: Any, axes: list[Axis]) -> int:
    """The steps of all cells."""

    def over(label: str) -> int | None:
        chosen = [axis for axis in axes if axis.option.label == label]
        return sum(chosen[0].values) * _count([a for a in axes if a is not chosen[0]]) if chosen else None

    first, second = over("Steps"), 0
    steps = p.steps * _count(axes) if first is None else first
    if getattr(p, "enable_hr", False):
        hires = over("Hires steps")
        same = p.hr_second_pass_steps * _count(axes) or steps
        second = same if hires is None else hires
    return (steps + second) * p.n_iter


def _order(axes: list[Axis]) -> list[int]:
    """The places of the axes, outermost first. Only a cost above both others counts, and then the next one's."""
    costs = [axis.option.cost for axis in axes]
    for first in range(len(axes)):
        low, high = (place for place in range(len(axes)) if place != first)
        if costs[first] > max(costs[low], costs[high]):
            return [first, low, high] if costs[low] > costs[high] else [first, high, low]
    return [2, 1, 0]


def _run_all(p: Any, axes: list[Axis]) -> Iterator[tuple[tuple[int, ...], Cell]]:
    """(place on each axis, cell), in the host's order."""
    state, order, count = fake("modules.shared").state, _order(axes), _count(axes)
    sizes = [len(axis.values) for axis in axes]
    with_text: set[int] = set()
    for places in itertools.product(*(range(sizes[axis]) for axis in order)):
        place = tuple(places[order.index(axis)] for axis in range(len(axes)))
        x, y, z = place
        state.job = f"{1 + x + sizes[0] * (y + sizes[1] * z)} out of {count}"
        if any((state.interrupted, state.stopping_generation)):
            cell = Cell(Processed(p, [], p.seed, ""), p)
        else:
            cell = _run(p, axes, place)
            if (x, y) == (0, 0) and z not in with_text:
                with_text.add(z)
                _grid_text(cell.p, axes)
        cell.labels = [axis.labels[at] for axis, at in zip(axes, place, strict=True) if axis.option.label != NOTHING]
        yield place, cell


def _run(p: Any, axes: list[Axis], place: tuple[int, ...]) -> Cell:
    """One cell: only what the job raises is swallowed."""
    job = copy.copy(p)
    job.styles = job.styles[:]
    for axis, at in zip(axes, place, strict=True):
        axis.option.apply(job, axis.values[at], axis.values)
    before = len(probe().jobs)
    try:
        processed, raised = process_images(job), None
    except Exception as error:  # noqa: BLE001 (as the host does)
        fake("modules.errors").display(error, "a cell of the plot failed")
        processed, raised = Processed(p, [], p.seed, ""), error
    made = probe().jobs[before:]
    return Cell(processed, job, job=made[0] if made else None, error=raised)


def _grid_text(p: Any, axes: list[Axis]) -> str:
    """The text under a grid, from its first cell's job after it has ended; if that has no prompts, this raises."""
    p.extra_generation_params = {**p.extra_generation_params, "Script": TITLE}
    for name, axis in zip(NAMES, axes, strict=True):
        if axis.option.label == NOTHING:
            continue
        given = axis.given if isinstance(axis.given, str) else _as_text(axis.given)
        p.extra_generation_params.update({f"{name.upper()} Type": axis.option.label, f"{name.upper()} Values": given})
        if axis.option.label in SEED_AXES:
            p.extra_generation_params[f"Fixed {name.upper()} Values"] = ", ".join(map(str, axis.values))
    return create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds)


def _as_text(values: list[str]) -> str:
    text = StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().strip()
