"""What the settings accept, and the sentences with which they refuse the rest."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_fewstep.highres import AXES, METHODS, HighResSettings, ModelHints
from lib_fewstep.options import SettingError, options_of

OPTIONS = options_of(HighResSettings)
REFUSED = [
    ("t1", -0.1),
    ("t1", 1.5),
    ("t1", math.nan),
    ("t1", "0.4"),
    ("t1", True),
    ("t2", [0.1]),
    ("d1", 0),
    ("d1", 2.5),
    ("d2", 13),
    ("method", "Hi"),
    ("method", None),
    ("preset", "auto"),
    ("passes", "Second"),
    ("enabled", 1),
    ("raunet", None),
    ("window_attention", "yes"),
    ("trained_size", 0),
    ("trained_size", 512.5),
    ("scaler", "lanczos"),
    ("downscale", 0),
    ("upscale", 0.5),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
@pytest.mark.parametrize("make", [lambda values: HighResSettings(**values), HighResSettings.from_dict])
def test_a_refusal_names_the_setting_its_value_and_what_is_allowed(name, value, make):
    with pytest.raises(SettingError) as refusal:
        make({name: value})
    sentence = str(refusal.value)
    assert sentence.startswith(f"{name} = {value!r} is not allowed: it must be ")
    assert OPTIONS[name].allowed in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("values", [[], [True], None, "HiDiffusion", 3])
def test_anything_that_is_no_dict_is_refused(values):
    with pytest.raises(SettingError, match="must be a dict of names and values, not"):
        HighResSettings.from_dict(values)


def test_an_unknown_name_is_refused_with_the_nearest_known():
    with pytest.raises(SettingError, match=r"'windowattention' is not a setting.*Did you mean window_attention\?"):
        HighResSettings.from_dict({"windowattention": True})


@pytest.mark.parametrize(("value", "passes"), [(True, "First"), (False, "All")])
def test_deep_shrinks_own_name_for_the_first_pass(value, passes):
    assert HighResSettings.from_dict({"only_one_pass": value}).passes == passes


def test_the_two_names_for_the_passes_exclude_each_other():
    with pytest.raises(SettingError, match="give only one of them"):
        HighResSettings.from_dict({"passes": "All", "only_one_pass": True})
    with pytest.raises(SettingError, match="only_one_pass = 1 is not allowed"):
        HighResSettings.from_dict({"only_one_pass": 1})


def begin_with(documented, found):
    """What a later method adds comes after what requests may already send as a list."""
    assert list(found)[: len(documented)] == documented
    later = set(found) - set(documented)
    assert {OPTIONS[name].group for name in later} <= {method.name for method in METHODS[2:]}


def test_the_documented_names_and_order():
    documented = (
        "enabled method preset raunet window_attention aggressive t1 t2 passes trained_size "
        "d1 d2 s1 s2 scaler downscale upscale smooth_scaling early_out by_size"
    )
    begin_with(documented.split(), OPTIONS)


def test_the_order_of_the_axes():
    documented = (
        "method preset raunet window_attention t1 t2 aggressive passes downscale upscale d1 d2 s1 s2 scaler "
        "smooth_scaling"
    )
    begin_with(documented.split(), AXES)


def test_every_option_describes_itself():
    for name, option in OPTIONS.items():
        assert option.label, name
        assert option.help, name
        assert option.infotext.startswith("HiDiffusion "), name
    labels = [option.label for option in OPTIONS.values()]
    assert len(set(labels)) == len(labels)
    assert len({option.infotext for option in OPTIONS.values()}) == len(labels)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*OPTIONS, "only_one_pass", "x"]), ANYTHING) | ANYTHING)
def test_any_input_gives_settings_or_one_sentence(values):
    try:
        settings = HighResSettings.from_dict(values)
    except SettingError as refusal:
        assert str(refusal).rstrip("?").endswith(".") or "Did you mean" in str(refusal)
    else:
        assert dataclasses.asdict(settings).items() >= {k: v for k, v in values.items() if k in OPTIONS}.items()


@pytest.mark.parametrize("values", [{"pass_": "second"}, {"denoise": 1.2}, {"trained_size": 8}])
def test_hints_are_checked(values):
    with pytest.raises(SettingError, match="is not allowed"):
        ModelHints(**values)
