"""Grids of timesteps and their noise levels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from bench.mixtures import SCHEDULE, sd_schedule
from lib_fewstep.models import KINDS, ModelDenoiser, NoiseSchedule, sigmas_of
from lib_fewstep.options import SettingError
from lib_fewstep.sampling import lcm_timesteps, sigmas_at, trailing_timesteps
from lib_fewstep.sampling.schedules import (
    AYS_SD1,
    AYS_SDXL,
    GRIDS,
    at_or_below,
    ays_sigmas,
    beta_timesteps,
    check_timesteps,
    from_share,
)


def test_published_grids():
    assert trailing_timesteps(4) == [999, 749, 499, 249]
    assert trailing_timesteps(1) == [999]
    assert lcm_timesteps(4) == [999, 759, 499, 259]
    assert lcm_timesteps(8) == [999, 879, 759, 639, 499, 379, 259, 139]
    assert lcm_timesteps(50) == list(range(999, 0, -20))


@given(st.integers(1, 50))
def test_lcm_grid_is_of_the_trained_timesteps(steps):
    found = lcm_timesteps(steps)
    assert len(set(found)) == steps
    assert found[0] == 999
    assert found == sorted(set(found) & set(range(19, 1000, 20)), reverse=True)


@given(st.integers(10, 10_000), st.floats(0, 1))
def test_lcm_grid_of_any_number_of_timesteps(trained, share):
    """From the last one down, all of them apart, and at 50 steps even."""
    most = min(50, trained)
    steps = max(1, round(share * most))
    found = lcm_timesteps(steps, trained)
    assert len(set(found)) == steps
    assert found[0] == trained - 1
    assert found[-1] >= 0
    assert set(found) <= set(lcm_timesteps(most, trained))
    gaps = [a - b for a, b in pairwise([*lcm_timesteps(most, trained), -1])]
    assert max(gaps) - min(gaps) <= 1


@given(st.integers(1, 1000), st.sampled_from([1000, 1100, 4000]))
def test_trailing_grid_falls_evenly(steps, trained):
    found = trailing_timesteps(steps, trained)
    gaps = [a - b for a, b in zip(found, [*found[1:], -1], strict=True)]
    assert found[0] == trained - 1
    assert found[-1] >= 0
    assert all(abs(gap - trained / steps) <= 1 and gap > 0 for gap in gaps)


@pytest.mark.parametrize(
    ("grid", "steps", "sentence"),
    [
        (lcm_timesteps, 51, 'schedule = "LCM grid" is not allowed for a grid of 51 steps: it must be 1 to 50'),
        (lcm_timesteps, 0, 'schedule = "LCM grid" is not allowed for a grid of 0 steps: it must be 1 to 50'),
        (
            trailing_timesteps,
            1001,
            'schedule = "Trailing" is not allowed for a grid of 1001 steps: it must be 1 to 1000',
        ),
        (trailing_timesteps, 0, 'schedule = "Trailing" is not allowed for a grid of 0 steps: it must be 1 to 1000'),
        (trailing_timesteps, -3, 'schedule = "Trailing" is not allowed for a grid of -3 steps: it must be 1 to 1000'),
    ],
)
def test_what_no_grid_has_is_refused(grid, steps, sentence):
    with pytest.raises(SettingError) as refusal:
        grid(steps)
    assert str(refusal.value).startswith(sentence)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    ("timesteps", "denoise", "expected"),
    [
        ([999, 749, 499, 249], 1.0, [999, 749, 499, 249]),
        ([999, 749, 499, 249], 0.999, [749, 499, 249]),
        ([999, 749, 499, 249], 0.5, [499, 249]),
        ([999, 749, 499, 249], 0.4999, [249]),
        ([999, 749, 499, 249], 0.25, [249]),
        ([99, 0], 0.1, [99, 0]),
        ([699, 0], 0.7, [699, 0]),
    ],
)
def test_a_pass_runs_what_is_at_or_below_its_start(timesteps, denoise, expected):
    assert at_or_below(timesteps, denoise) == expected


def test_every_hundredth_of_strength_starts_at_its_own_timestep():
    for percent in range(1, 101):
        assert at_or_below(list(range(999, -1, -1)), percent / 100)[0] == 10 * percent - 1


def test_a_strength_of_a_model_with_more_timesteps_starts_at_one_of_its_own():
    for percent in range(1, 101):
        assert at_or_below(list(range(1099, -1, -1)), percent / 100, 1100)[0] == 11 * percent - 1


@pytest.mark.parametrize("trained", [500, 1000, 1100])
def test_a_timestep_that_the_model_does_not_have_is_refused(trained):
    check_timesteps([trained - 1, 100], trained)
    with pytest.raises(SettingError) as refusal:
        check_timesteps([trained, 100], trained)
    assert str(refusal.value) == (
        f"timesteps = [{trained}, 100] is not allowed: the model has {trained} timesteps, so they must be whole "
        f"numbers from {trained - 1} to 0."
    )


def test_a_list_that_is_all_above_the_start_is_refused():
    with pytest.raises(SettingError) as refusal:
        at_or_below([999, 749], 0.4)
    assert str(refusal.value) == (
        "timesteps = [999, 749] is not allowed at denoising strength 0.4: at least one entry must be at or below 399, "
        "where this pass starts."
    )


@pytest.mark.parametrize("quantize", [False, True])
def test_levels_are_those_of_the_timesteps(quantize):
    schedule = sd_schedule(quantize=quantize)
    timesteps = list(range(999, -1, -1))
    levels = sigmas_at(timesteps, schedule)
    assert levels[-1] == 0
    torch.testing.assert_close(levels[:-1], SCHEDULE.sigmas.flip(0), rtol=1e-6, atol=0)
    found = schedule.sigma_to_t(levels[:-1])
    bound = 0 if quantize else 1e-3
    torch.testing.assert_close(found.double(), torch.tensor(timesteps).double(), rtol=0, atol=bound)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_levels_fall_to_zero(steps):
    levels = sigmas_at(lcm_timesteps(steps), SCHEDULE)
    assert len(levels) == steps + 1
    assert levels.diff().max() < 0


@given(st.integers(1, 1000), st.sampled_from([1000, 1100]))
def test_beta_timesteps_are_the_quantiles(steps, trained):
    """Within one of scipy's where they are apart, and always as many as are asked for."""
    found = beta_timesteps(steps, trained)
    assert len(found) == steps
    assert found[0] == trained - 1
    assert found[-1] >= 0
    assert all(before > after for before, after in pairwise(found))
    if steps <= 100:
        quantiles = beta.ppf(1 - np.arange(steps) / steps, 0.6, 0.6) * (trained - 1)
        assert np.abs(np.array(found) - quantiles).max() <= 1


def test_beta_begins_as_published():
    levels = sigmas_at(beta_timesteps(10), SCHEDULE)
    assert [round(float(level), 1) for level in levels[:4]] == [14.6, 11.5, 7.4, 4.4]


@pytest.mark.parametrize(("sdxl", "table"), [(False, AYS_SD1), (True, AYS_SDXL)])
def test_align_your_steps_has_its_own_levels_at_10_steps(sdxl, table):
    assert ays_sigmas(10, sdxl=sdxl).tolist() == pytest.approx([*table[:10], 0.0])


@given(st.integers(1, 1000), st.booleans())
def test_align_your_steps_falls_from_the_highest_level_to_0(steps, sdxl):
    levels = ays_sigmas(steps, sdxl=sdxl)
    assert len(levels) == steps + 1
    assert float(levels[0]) == pytest.approx(14.615)
    assert levels[-1] == 0
    assert levels.diff().max() < 0
    table = torch.tensor(AYS_SDXL if sdxl else AYS_SD1).log()
    if steps % 10 == 0:  # the table's own levels are among them
        torch.testing.assert_close(levels[:-1].log()[:: steps // 10], table[:10], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("trained", [30, 510, 1000, 1100])
def test_every_grid_runs_over_any_number_of_timesteps(name, trained):
    shares = NoiseSchedule(steps=trained).alphas_cumprod()
    model = ModelDenoiser(None, KINDS["noise"], sigmas_of(shares))
    for steps in (1, 2, 7, min(50, trained)):
        levels = GRIDS[name].levels(steps, model, False)
        assert len(levels) == steps + 1
        assert levels.diff().max() < 0
        GRIDS[name].check(steps, trained)
    with pytest.raises(SettingError):
        GRIDS[name].check(trained + 1, trained)


SD = ModelDenoiser(None, KINDS["noise"], sigmas_of(NoiseSchedule().alphas_cumprod()))
HIGH, LOW = float(SD.sigmas[-1]), float(SD.sigmas[0])


def falling(levels):
    return torch.cat([torch.as_tensor(levels), torch.zeros(1)])


def geometric(steps):
    """From the model's highest level; in several steps to its lowest."""
    return falling(np.geomspace(HIGH, LOW, steps) if steps > 1 else [HIGH])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.67, 0.95])
@pytest.mark.parametrize("schedule", [geometric, lambda steps: sigmas_at(trailing_timesteps(steps), SD)])
def test_a_share_starts_where_img2img_does(steps, share, schedule):
    """At timestep 1000 s - 1, in any number of steps, and falls to where the schedule's own levels lead."""
    sigmas = schedule(steps)
    found = from_share(sigmas, share, SD)
    assert float(found[0]) == pytest.approx(float(SD.t_to_sigma(torch.tensor(1000 * share - 1))), rel=1e-5)
    assert found.shape == sigmas.shape
    assert found.diff().max() < 0
    assert float(found[-1]) == 0
    assert (found[:-1] >= LOW * (1 - 1e-6)).all()
    assert (found <= sigmas * (1 + 1e-6)).all()


def test_a_share_of_trailing_is_the_end_of_a_longer_one():
    found = from_share(sigmas_at(trailing_timesteps(4), SD), 0.5, SD)
    timesteps = SD.sigma_to_t(found[:-1])
    assert float((timesteps - torch.tensor(trailing_timesteps(8)[4:])).abs().max()) < 1


def test_the_whole_share_is_the_schedule_itself():
    sigmas = geometric(5)
    assert from_share(sigmas, 1, SD) is sigmas


def test_levels_beyond_the_models_stay_apart():
    """As settings of the host's schedules can make them."""
    sigmas = falling([2 * HIGH, 1.5 * HIGH, 1.0, LOW / 2, LOW / 3])
    found = from_share(sigmas, 0.5, SD)
    start = float(SD.t_to_sigma(torch.tensor(499.0)))
    assert found[:2].tolist() == pytest.approx([2 * start, 1.5 * start], rel=1e-5)
    torch.testing.assert_close(found[-3:], sigmas[-3:])


@pytest.mark.parametrize("sigma", [LOW / 2, LOW, float(SD.sigmas[1])])
def test_nothing_to_share(sigma):
    with pytest.raises(SettingError, match=r"prior\.share = 0\.5 is not allowed with a schedule that starts at sigma"):
        from_share(falling([sigma]), 0.5, SD)
