"""What is done about a model: what its file says beside what the host knows and what the settings choose."""

from __future__ import annotations

import pytest
import torch

from lib_fewstep.models import STABLE_DIFFUSION, HostModel, ModelSettings, Told, plan_of
from lib_fewstep.models.kinds import EDM, EDM_V, NOISE, V

SCHEDULE = STABLE_DIFFUSION.alphas_cumprod()
PREDICTION = "modelspec.prediction_type"
PLAYGROUND = Told(EDM, "edm_mean", latents=True)
COSXL = Told(EDM_V, "edm_vpred.sigma_max", levels=(0.01, 40.0))


def plan(told, host=NOISE, **settings):
    return plan_of(ModelSettings(**settings), told, HostModel(host, SCHEDULE))


@pytest.mark.parametrize("host", [NOISE, V])
def test_a_mark_of_zero_snr_alone_says_no_kind(host):
    """It belongs to v: noise cannot be predicted where there is nothing else."""
    found = plan(Told(zero_snr=True), host)
    assert (found.name, found.changes_kind, found.changes_schedule) == (host, False, host == V)
    assert (float(found.sigmas[-1]) > 4000) == (host == V)


def test_zero_snr_of_the_file_is_that_of_v():
    file = Told(V, "v_pred", zero_snr=True)
    assert float(plan(file).sigmas[-1]) > 4000
    assert torch.equal(plan(file, kind=NOISE).alphas_cumprod, SCHEDULE)


def test_a_yaml_file_that_says_v_is_not_doubted():
    """The host has v by a YAML file alone, and a file says noise where nobody has thought of it."""
    assert plan(Told(NOISE, PREDICTION), V).name == V
    assert plan(Told(NOISE, PREDICTION)).name == NOISE
    assert plan(Told(V, "v_pred"), NOISE).name == V


@pytest.mark.parametrize("told", [PLAYGROUND, COSXL])
def test_the_files_own_kind_is_the_same_when_it_is_chosen(told):
    auto, chosen = plan(told), plan(told, kind=told.kind)
    assert torch.equal(auto.alphas_cumprod, chosen.alphas_cumprod)
    assert auto.latents == chosen.latents == told.latents


def test_another_kind_than_the_files_has_its_own_levels_and_latents():
    assert not plan(PLAYGROUND, kind=EDM_V).latents
    torch.testing.assert_close(plan(COSXL, kind=EDM).sigmas, plan(PLAYGROUND).sigmas)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ()),
        ({"original": "8x8", "size": "As trained"}, ("original",)),
        ({"original": "8x8", "size": "Custom"}, ()),
        ({"beta_end": 0.1, "trained_steps": 50, "noise_schedule": "Kolors"}, ("beta_end", "trained_steps")),
        ({"beta_end": 0.013, "noise_schedule": "Custom", "crop": "0x0"}, ("crop",)),
    ],
)
def test_what_is_set_and_not_used(settings, names):
    assert ModelSettings(**settings).unused == names
