"""What holds for every method in the registry, those to come too."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from lib_fewstep.highres import AXES, METHODS, HighResSettings, ModelHints
from lib_fewstep.highres.methods.base import Part
from lib_fewstep.highres.report import make_report
from lib_fewstep.highres.schedule import make_schedule
from lib_fewstep.options import options_of
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import Place, Scaling, Topology, inspect_unet
from tests.unets import sd1_unet, sd2_unet, sdxl_unet

TOPOLOGIES = [inspect_unet(make()) for make in (sd1_unet, sd2_unet, sdxl_unet)]
SIZES = [(96, 96), (256, 256), (512, 520)]
OPTIONS = options_of(HighResSettings)
EACH = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def schedules(method):
    """Those of a method's own settings, for each kind of model and band of sizes."""
    settings = HighResSettings(method=method.name, preset="Paper")
    for topology, size in itertools.product(TOPOLOGIES, SIZES):
        yield topology, size, make_schedule(settings, topology, size, 20, ModelHints())


def test_the_first_two_are_where_they_were():
    assert [method.name for method in METHODS][:2] == ["HiDiffusion", "Deep Shrink"]
    assert OPTIONS["method"].choices == tuple(method.name for method in METHODS)
    assert all(method.help in OPTIONS["method"].help for method in METHODS)


def test_no_two_share_a_name_or_a_setting():
    names = [method.name for method in METHODS]
    own = [name for method in METHODS for name in options_of(method.own)]
    assert len(set(names)) == len(names)
    assert len(set(own)) == len(own)


@EACH
def test_its_settings_are_a_group_of_their_own(method):
    assert [name for name, option in OPTIONS.items() if option.group == method.name] == list(options_of(method.own))


@EACH
def test_what_a_preset_sets_may_be_left_to_it(method):
    """None is its default in all settings, and its own default is what the page shows; the rest has one default."""
    own = dataclasses.asdict(method.own())
    for name, value in own.items():
        default = getattr(HighResSettings(), name)
        assert (default, OPTIONS[name].manual) in ((None, value), (value, None)), name
    assert own.items() <= dataclasses.asdict(HighResSettings(method=method.name, preset="Manual", **own)).items()


@EACH
def test_its_axes_and_aliases(method):
    assert set(method.axes) <= set(options_of(method.own))
    assert set(method.axes) <= set(AXES)
    assert not method.aliases.keys() & OPTIONS.keys()


@EACH
def test_the_schedule_resolves_its_own_settings_alone(method):
    for topology, size, schedule in schedules(method):
        values = {name: getattr(schedule.settings, name) for name in options_of(method.own)}
        assert None not in values.values(), (topology.family, size)
        others = set(OPTIONS) - set(values)
        plain = HighResSettings(method=method.name, preset="Paper")
        assert all(getattr(schedule.settings, name) == getattr(plain, name) for name in others)


@EACH
def test_it_acts_with_parts_that_it_names(method):
    met = {type(part) for *_, schedule in schedules(method) for parts in schedule.steps for part in parts}
    assert met == set(method.parts)
    assert len({kind.label for kind in method.parts}) == len(method.parts)


@EACH
def test_its_parts_are_at_places_that_there_are(method):
    for topology, _, schedule in schedules(method):
        blocks = {Place(side, index) for side in ("input", "output") for index in range(topology.blocks)}
        for part in itertools.chain(*schedule.steps):
            assert hash(part) == hash(dataclasses.replace(part))
            assert set(part.places(topology)) <= blocks


@EACH
def test_every_part_is_in_the_report(method):
    for topology, size, schedule in schedules(method):
        report = make_report(schedule, topology, size, ModelHints())
        acting = [kind for kind in method.parts if schedule.when(kind)]
        assert list(report.planned) == [kind.label for kind in acting]
        assert report.blocks.keys() == report.extents.keys() == report.planned.keys()
        assert len(report.summary) == len({kind.title for kind in acting})
        assert all(isinstance(sentence, Sentence) for sentence in report.summary)


class Plain(Part):
    """A part that says no more than it must."""

    label, title = "plain part", "Plain"

    def places(self, topology: Topology) -> tuple[Place, ...]:
        return ()

    def scalings(self, moment) -> dict[Place, Scaling]:
        return {}


def test_what_a_part_says_of_itself():
    first, second, third = (Place("input", index) for index in range(3))
    plain, topology = Plain(), TOPOLOGIES[0]
    assert plain.extent(topology, (first,)) == "at input_blocks[0]"
    assert plain.extent(topology, (first, second)) == "at input_blocks[0] and input_blocks[1]"
    assert plain.extent(topology, (first, second, third)) == "in 3 blocks"
    assert plain.summary(topology, (0, 1, 5), 9) == "Plain on steps 1-6 of 9"
    assert plain.summary(topology, (4,), 9) == "Plain on step 5 of 9"
