"""From a script's arguments to settings, and from settings to infotext and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_fewstep.highres import HighResSettings, ModelHints
from lib_fewstep.highres.schedule import make_schedule
from lib_fewstep.options import SettingError, options_of, page_fields
from lib_fewstep.unet import inspect_unet
from lib_fewstep.webui.highres.arguments import highres_settings
from lib_fewstep.webui.highres.infotext import infotext, pasted, used_in_both
from tests.unets import sd1_unet, sdxl_unet

OPTIONS = options_of(HighResSettings)
FIELDS = page_fields(HighResSettings)
UI = [field.shown for field in FIELDS.values()]


def ui(**changes):
    return [changes.get(name, value) for name, value in zip(OPTIONS, UI, strict=True)]


def check_pasting(settings, schedules):
    """The infotext of two passes, whose schedules `schedules` makes of settings, gives both again."""
    first, second = schedules(settings)
    parameters = infotext(settings, used_in_both(settings, first.settings, second.settings))
    restored = highres_settings([pasted(name, parameters) for name in OPTIONS])
    assert [schedule.steps for schedule in schedules(restored)] == [first.steps, second.steps]


def test_the_uis_values_are_off_and_else_the_defaults():
    assert highres_settings(UI) == HighResSettings(enabled=False)
    assert highres_settings([]) == HighResSettings(enabled=False)
    assert highres_settings(ui(enabled=True)) == HighResSettings()


def test_a_dict_wins_over_the_preset():
    args = [{"preset": "Auto", "t1": 0.3, "raunet": False}]
    assert highres_settings(args) == HighResSettings(t1=0.3, raunet=False)


def test_positional_values_are_read_under_manual_only():
    given = {"enabled": True, "t1": 0.9, "d1": 5.0, "raunet": False, "aggressive": False}
    assert highres_settings(ui(**given)) == HighResSettings()
    manual = highres_settings(ui(preset="Manual", **given))
    assert (manual.t1, manual.raunet, manual.aggressive) == (0.9, False, False)
    assert manual.d1 is None, "that is the other method's"
    assert highres_settings(ui(preset="Manual", method="Deep Shrink", **given)).d1 == 5


def test_zero_pixels_mean_the_models_own_size():
    assert highres_settings(ui(enabled=True, trained_size=0)).trained_size is None
    assert highres_settings(ui(enabled=True, trained_size=768.0)).trained_size == 768


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([[True]], r"args\[0\] = \[True\] is not allowed: it must be a dict of settings, or true or false"),
        (["on"], r"args\[0\] = 'on' is not allowed"),
        ([None], r"args\[0\] = None is not allowed"),
        ([True, "Magic"], "method = 'Magic' is not allowed"),
        ([{"method": "Magic"}], "method = 'Magic' is not allowed"),
        (ui(enabled=True, t1=-1.0), "t1 = -1.0 is not allowed: it must be 0 to 1"),
        ([*UI, 1], "args has 21 values, but there are only 20 settings"),
    ],
)
def test_refusals(args, sentence):
    with pytest.raises(SettingError, match=sentence):
        highres_settings(args)


def test_defaults_are_never_written():
    assert infotext(HighResSettings()) == {"HiDiffusion method": "HiDiffusion"}
    assert infotext(highres_settings(ui(enabled=True, preset="Manual"))) == {
        "HiDiffusion method": "HiDiffusion",
        "HiDiffusion preset": "Manual",
    }


def test_an_image_without_the_method_switches_it_off_and_changes_nothing_else():
    assert pasted("enabled", {"Steps": "20"}) is False
    assert {pasted(name, {"Steps": "20"}) for name in OPTIONS if name != "enabled"} == {None}


VALUES = {
    name: st.sampled_from(option.choices)
    if option.choices
    else st.booleans()
    if isinstance(FIELDS[name].shown, bool)
    else st.integers(int(option.low), int(option.high))
    if isinstance(option.step, int)
    else st.floats(option.low, option.high)
    for name, option in OPTIONS.items()
}


@given(st.fixed_dictionaries(VALUES))
def test_what_the_ui_has_set_is_pasted_back(values):
    """Whatever the UI's values mean, the pasted infotext means the same."""
    values["enabled"] = True
    settings = highres_settings(ui(**values))
    parameters = infotext(settings)
    again = [pasted(name, parameters) for name in OPTIONS]
    relevant = {name for name, option in OPTIONS.items() if option.group in ("", settings.method)}
    restored = highres_settings(again)
    assert {name: getattr(restored, name) for name in relevant} == {name: getattr(settings, name) for name in relevant}


@pytest.mark.parametrize("given", [{"t1": 0.3}, {"preset": "Manual"}, {"preset": "Paper", "aggressive": False}])
@pytest.mark.parametrize("size", [(64, 64), (256, 256), (512, 512)])
@pytest.mark.parametrize("make", [sd1_unet, sdxl_unet, lambda: sdxl_unet(in_channels=9)])
def test_values_that_were_given_by_name_make_the_same_schedule_when_pasted(given, size, make):
    topology, hints = inspect_unet(make()), ModelHints()
    settings = HighResSettings.from_dict({"trained_size": 64} | given)
    schedule = make_schedule(settings, topology, size, 50, hints)
    parameters = infotext(settings, schedule.settings)
    restored = highres_settings([pasted(name, parameters) for name in OPTIONS])
    assert make_schedule(restored, topology, size, 50, hints).steps == schedule.steps


@pytest.mark.parametrize("make", [sd1_unet, sdxl_unet, lambda: sdxl_unet(in_channels=9)])
@pytest.mark.parametrize("sizes", [((64, 64), (512, 512)), ((512, 512), (64, 64))])
@pytest.mark.parametrize("values", [{}, {"aggressive": True}, {"t1": 0.3, "t2": 0.2, "aggressive": False}])
def test_what_the_ui_has_set_makes_the_schedules_of_both_passes_when_pasted(values, sizes, make):
    """SDXL has no aggressive mode at the larger size."""
    topology, hints = inspect_unet(make()), (ModelHints(), ModelHints(pass_="hires"))
    settings = highres_settings(ui(enabled=True, preset="Manual", **values))

    def schedules(settings):
        return [make_schedule(settings, topology, size, 50, hint) for size, hint in zip(sizes, hints, strict=True)]

    check_pasting(settings, schedules)


@pytest.mark.parametrize("given", [{"t1": 0.4, "t2": 0.1}, {"t1": 0.6, "t2": 0}, {"t1": 0.4, "t2": 0, "raunet": False}])
@pytest.mark.parametrize("rivals", [(None, "HyperTile"), ("HyperTile", None), (None, None)])
def test_switches_that_were_left_to_the_preset_are_those_of_both_passes_when_pasted(given, rivals):
    """Of SDXL at two sizes, and beside one who takes the windows in one of the passes."""
    topology, settings = inspect_unet(sdxl_unet()), HighResSettings.from_dict({"preset": "Paper"} | given)

    def schedules(settings):
        hints = (ModelHints(rival=rivals[0]), ModelHints(pass_="hires", rival=rivals[1]))
        return [
            make_schedule(settings, topology, size, 50, hint)
            for size, hint in zip(((64, 64), (512, 512)), hints, strict=True)
        ]

    check_pasting(settings, schedules)


@pytest.mark.parametrize(
    "given",
    [
        {"window_attention": False},
        {"raunet": False},
        {"t1": 0.45},
        {"t2": 0.1},
        {"by_size": "T1", "t2": 0.2},
        {"preset": "Manual"},
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_thresholds_that_the_preset_sets_by_size_are_those_of_both_passes_when_pasted(given, turned):
    topology, settings = inspect_unet(sd1_unet()), HighResSettings.from_dict({"preset": "Paper"} | given)
    sizes = ((256, 256), (128, 128)) if turned else ((128, 128), (256, 256))

    def schedules(settings):
        return [make_schedule(settings, topology, size, 50, ModelHints()) for size in sizes]

    check_pasting(settings, schedules)


def test_thresholds_by_size_of_a_first_pass_with_controlnet():
    """T1 of SDXL is 0.5 there, and 0.4 in the hires pass."""
    topology, settings = (
        inspect_unet(sdxl_unet()),
        HighResSettings.from_dict({"preset": "Paper", "window_attention": False}),
    )
    hints = (ModelHints(controlnet=True), ModelHints(controlnet=True, pass_="hires"))

    def schedules(settings):
        return [make_schedule(settings, topology, (192, 192), 50, hint) for hint in hints]

    first, second = schedules(settings)
    assert first.steps != second.steps
    check_pasting(settings, schedules)


HOSTILE = [
    ("t1", "abc"),
    ("t1", "7"),
    ("t1", "nan"),
    ("t1", "inf"),
    ("t1", "-1"),
    ("d1", "1e999"),
    ("method", "Magic"),
    ("scaler", "lanczos"),
    ("preset", "Bogus"),
    ("trained_size", "99999999"),
    ("early_out", "maybe"),
]


@pytest.mark.parametrize(("name", "text"), HOSTILE)
def test_a_pasted_value_that_is_not_allowed_leaves_the_page_alone(name, text):
    parameters = {"HiDiffusion method": "HiDiffusion", OPTIONS[name].infotext: text}
    assert pasted(name, parameters) is None
    assert pasted("passes", parameters) == "Auto"


@given(st.dictionaries(st.sampled_from([option.infotext for option in OPTIONS.values()]), st.text()))
def test_no_pasted_text_raises(parameters):
    for name in OPTIONS:
        value = pasted(name, parameters)
        assert value is None or isinstance(value, type(FIELDS[name].shown))


def test_a_whole_number_may_be_written_as_a_fraction():
    assert pasted("d1", {"HiDiffusion method": "Deep Shrink", "HiDiffusion depth 1": "4.0"}) == 4


def test_the_settings_of_every_tab_and_preset_are_known():
    assert list(FIELDS) == list(OPTIONS)
    assert {option.group for option in OPTIONS.values()} == {"", "HiDiffusion", "Deep Shrink"}
