"""`modules.prompt_parser` and `modules.extra_networks`: prompts that change with the steps, and `<name:arguments>`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from tests.webui.standin.checkpoints import DictWithShape
from tests.webui.standin.strict import StrictModule, fake

_AND = re.compile(r"\bAND\b")
_WEIGHTED = re.compile(r"(.*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*", re.DOTALL)
_CHANGE = re.compile(r"\[(?:([^][:]*):)?([^][:]*):\s*(\d+\.?\d*|\.\d+)\s*\]")
_NETWORK = re.compile(r"<(\w+):([^>]+)>")


class SdConditioning(list[str]):
    """Prompts, with what SDXL's text encoder wants to know besides."""

    def __init__(
        self,
        prompts: Any,
        is_negative_prompt: bool = False,
        width: int | None = None,
        height: int | None = None,
        copy_from: Any = None,
    ) -> None:
        super().__init__(prompts)
        source = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width = width or getattr(source, "width", None)
        self.height = height or getattr(source, "height", None)


class ScheduledPromptConditioning(NamedTuple):
    """An encoded text, and the last step that it holds for."""

    end_at_step: int
    cond: Any


class ComposableScheduledPromptConditioning:
    """One AND part of a prompt: its texts over the steps, and its weight."""

    def __init__(self, schedules: list[ScheduledPromptConditioning], weight: float = 1.0) -> None:
        self.schedules = schedules
        self.weight = weight


class MulticondLearnedConditioning:
    """The AND parts of each prompt of a batch."""

    def __init__(self, shape: tuple[int, ...], batch: list[list[ComposableScheduledPromptConditioning]]) -> None:
        self.shape = shape
        self.batch = batch


def get_learned_conditioning_prompt_schedules(
    prompts: list[str], base_steps: int, hires_steps: int | None = None
) -> list[list[list[Any]]]:
    """For each prompt its [last step, text]; with `hires_steps` for the second pass, which goes on counting.

    What changes is `[before:after:when]` or `[after:when]`. The host also has alternations and nests them.
    """
    steps, whole, part = (base_steps, 0, 0.0) if hires_steps is None else (hires_steps, base_steps, 1.0)

    def end(number: str) -> int:
        """The last step before a change: after a fraction of the pass, or by steps counted over both passes."""
        return min(steps, int((float(number) - part) * steps if "." in number else float(number) - whole))

    def at(prompt: str, step: int) -> str:
        return _CHANGE.sub(lambda found: (found[1] or "") if step <= end(found[3]) else found[2], prompt)

    def ends(prompt: str) -> list[int]:
        return sorted({*(end(found[3]) for found in _CHANGE.finditer(prompt) if end(found[3]) >= 1), steps})

    return [[[last, at(prompt, last)] for last in ends(prompt)] for prompt in prompts]


def get_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: int | None = None
) -> list[list[ScheduledPromptConditioning]]:
    """For each prompt its encoded texts over the steps."""
    answers = []
    for schedule in get_learned_conditioning_prompt_schedules(prompts, steps, hires_steps):
        texts = SdConditioning([text for _, text in schedule], copy_from=prompts)
        encoded = model.get_learned_conditioning(texts)
        rows = [_row(encoded, index) for index in range(len(texts))]
        answers.append([ScheduledPromptConditioning(end, row) for (end, _), row in zip(schedule, rows, strict=True)])
    return answers


def _row(encoded: Any, index: int) -> Any:
    if isinstance(encoded, dict):
        return {key: value[index] for key, value in encoded.items()}
    return encoded[index]


def get_multicond_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: int | None = None
) -> MulticondLearnedConditioning:
    """The same for prompts with AND parts, which may bear a weight after a colon."""
    batch = []
    for prompt in prompts:
        parts = [_WEIGHTED.fullmatch(part) for part in _AND.split(prompt)]
        texts = SdConditioning([part[1] for part in parts if part], copy_from=prompts)
        weights = [float(part[2] or 1.0) for part in parts if part]
        schedules = get_learned_conditioning(model, texts, steps, hires_steps)
        batch.append([ComposableScheduledPromptConditioning(*both) for both in zip(schedules, weights, strict=True)])
    return MulticondLearnedConditioning((len(prompts),), batch)


def _now(schedules: list[ScheduledPromptConditioning], step: int) -> Any:
    return next((entry.cond for entry in schedules if step <= entry.end_at_step), schedules[0].cond)


def join(parts: list[Any]) -> Any:
    """Encoded texts as one batch; shorter ones repeat their last token."""
    if isinstance(parts[0], dict):
        return DictWithShape({key: join([part[key] for part in parts]) for key in parts[0]})
    if parts[0].dim() == 1:
        return torch.stack(parts)
    longest = max(len(part) for part in parts)
    return torch.stack([torch.cat([part, part[-1:].expand(longest - len(part), -1)]) for part in parts])


def _join_equal(parts: list[Any]) -> Any:
    """Encoded texts as one batch; different lengths are an error."""
    if isinstance(parts[0], dict):
        return DictWithShape({key: _join_equal([part[key] for part in parts]) for key in parts[0]})
    return torch.stack(parts)


def reconstruct_cond_batch(c: list[list[ScheduledPromptConditioning]], current_step: int) -> Any:
    """What `get_learned_conditioning` gave, as one batch at a step; it joins only texts of one length."""
    return _join_equal([_now(schedules, current_step) for schedules in c])


def reconstruct_multicond_batch(
    c: MulticondLearnedConditioning, current_step: int
) -> tuple[list[list[tuple[int, float]]], Any]:
    """(for each image its (row, weight), all rows as one batch)."""
    parts = [_now(part.schedules, current_step) for image in c.batch for part in image]
    rows = iter(range(len(parts)))
    return [[(next(rows), part.weight) for part in image] for image in c.batch], join(parts)


class ExtraNetworkParams:
    """What stands between the colons of one `<name:...>`; `name=value` is in `named`, the rest in `positional`."""

    def __init__(self, items: list[str] | None = None) -> None:
        self.items = items or []
        pairs = [item.split("=", 2) for item in self.items]
        self.positional = [item for item, pair in zip(self.items, pairs, strict=True) if len(pair) != 2]
        self.named = dict(pair for pair in pairs if len(pair) == 2)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExtraNetworkParams) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]


class ExtraNetwork:
    """A kind of extra network; `activate` is called for every batch, with an empty list if no prompt names it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def activate(self, p: Any, params_list: list[ExtraNetworkParams]) -> None:
        """Put the networks to work."""
        raise NotImplementedError

    def deactivate(self, p: Any) -> None:
        """At the end of a job."""
        raise NotImplementedError


def parse_prompt(prompt: str) -> tuple[str, dict[str, list[ExtraNetworkParams]]]:
    """(the prompt without its networks, the networks by name)."""
    found: dict[str, list[ExtraNetworkParams]] = defaultdict(list)
    for name, arguments in _NETWORK.findall(prompt):
        found[name].append(ExtraNetworkParams(arguments.split(":")))
    return _NETWORK.sub("", prompt), found


def parse_prompts(prompts: list[str]) -> tuple[list[str], dict[str, list[ExtraNetworkParams]] | None]:
    """(the prompts without their networks, the networks of the first one)."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None


def activate(p: Any, data: Any) -> None:
    """Activate every registered network, and tell the scripts; a name that nobody has registered is passed over."""
    for network in _registered(data):
        _try(network, f"activating {network.name}", lambda network: network.activate(p, data.get(network.name, [])))
    if p.scripts is not None:
        batch = {"batch_number": p.iteration, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
        p.scripts.after_extra_networks_activate(p, extra_network_data=data, **batch)


def deactivate(p: Any, data: Any) -> None:
    """Deactivate every registered network."""
    for network in _registered(data):
        _try(network, f"deactivating {network.name}", lambda network: network.deactivate(p))


def _registered(data: Any) -> list[Any]:
    registry = fake("modules.extra_networks").extra_network_registry
    named = [registry[name] for name in data if name in registry]
    return [*named, *(network for network in registry.values() if network not in named)]


def _try(network: Any, task: str, action: Callable[[Any], None]) -> None:
    try:
        action(network)
    except Exception as error:  # noqa: BLE001 (as the host does)
        fake("modules.errors").display(error, task)


def prompt_modules() -> list[StrictModule]:
    """`modules.prompt_parser` and `modules.extra_networks`."""
    registry: dict[str, Any] = {}
    return [
        StrictModule(
            "modules.prompt_parser",
            ComposableScheduledPromptConditioning=ComposableScheduledPromptConditioning,
            DictWithShape=DictWithShape,
            MulticondLearnedConditioning=MulticondLearnedConditioning,
            ScheduledPromptConditioning=ScheduledPromptConditioning,
            SdConditioning=SdConditioning,
            get_learned_conditioning=get_learned_conditioning,
            get_learned_conditioning_prompt_schedules=get_learned_conditioning_prompt_schedules,
            get_multicond_learned_conditioning=get_multicond_learned_conditioning,
            reconstruct_cond_batch=reconstruct_cond_batch,
            reconstruct_multicond_batch=reconstruct_multicond_batch,
        ),
        StrictModule(
            "modules.extra_networks",
            ExtraNetwork=ExtraNetwork,
            ExtraNetworkParams=ExtraNetworkParams,
            activate=activate,
            deactivate=deactivate,
            extra_network_registry=registry,
            parse_prompt=parse_prompt,
            parse_prompts=parse_prompts,
            register_extra_network=lambda network: registry.update({network.name: network}),
        ),
    ]
