"""How the samplers deal with the host: calls, noise, the callback, dtypes, and what the model keeps."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from bench.mixtures import SCHEDULES, Model, karras, near_unit, noise_sampler, one, skewed, start, trailing
from lib_fewstep import sampling as ours
from lib_fewstep.sampling import MissingUncondError, calibrated
from tests.sampling.runs import ALL, BASES, DETERMINISTIC, each_cfgpp, each_sampler, run

SHAPE = (4, 2, 3, 3)


def model_of(keeps="image"):
    return Model(*near_unit(), keeps)


def test_every_exported_sampler_is_tested():
    """That of flows, whose steps are its own, in a file of its own."""
    exported = {name for name in ours.__all__ if name.startswith("sample_")}
    assert {sampler.__name__ for sampler in ALL} == exported - {"sample_rectified_flow"}


@each_sampler
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_calls(sampler, schedule):
    """As many as steps; the second-order sampler makes two a step, but for the last."""
    for steps in (*range(1, 11), 20, 50):
        sigmas, model = SCHEDULES[schedule](steps), model_of()
        run(sampler, model, start(sigmas, (1, 1, 1, 1)), sigmas)
        assert model.calls == (2 * steps - 1 if sampler is ours.sample_dpmpp_2s_ancestral_cfgpp else steps)


@each_sampler
def test_the_callback_is_told_of_each_step_in_order(sampler):
    sigmas, model, seen = karras(5), model_of(), []
    x = start(sigmas, SHAPE)
    end = run(sampler, model, x, sigmas, callback=seen.append)
    assert all(set(news) == {"x", "i", "sigma", "sigma_hat", "denoised"} for news in seen)
    assert [news["i"] for news in seen] == list(range(5))
    assert [news["sigma"] for news in seen] == [news["sigma_hat"] for news in seen] == list(sigmas[:-1])
    assert torch.equal(seen[0]["x"], x)
    level = sigmas[:1].expand(len(x))
    torch.testing.assert_close(seen[0]["denoised"], model.cond.denoised(x, level))
    torch.testing.assert_close(seen[-1]["denoised"], end)


@each_sampler
def test_the_guidance_is_passed_on(sampler):
    sigmas, model = karras(1), model_of()
    x = start(sigmas, SHAPE)
    uncond, cond = (data.denoised(x, sigmas[:1].expand(len(x))) for data in (model.uncond, model.cond))
    torch.testing.assert_close(run(sampler, model, x, sigmas, 3.0), uncond + 3 * (cond - uncond))


@each_sampler
def test_the_input_is_left_alone(sampler):
    sigmas = karras(3)
    x = start(sigmas, SHAPE)
    before = x.clone()
    run(sampler, model_of(), x, sigmas)
    assert torch.equal(x, before)


@each_sampler
def test_no_random_state_is_used_beside_the_noise_sampler(sampler):
    sigmas = karras(4)
    before = torch.get_rng_state()
    run(sampler, model_of(), start(sigmas, SHAPE), sigmas)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sampler", [sampler for sampler in ALL if sampler not in DETERMINISTIC])
def test_noise_without_a_noise_sampler_is_torchs_own(sampler):
    sigmas, ends = karras(4), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        ends.append(run(sampler, model_of(), start(sigmas, SHAPE), sigmas, noise_sampler=None))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@each_sampler
def test_the_noise_sampler_gets_the_levels_of_the_step(sampler):
    sigmas, asked = trailing(12), []

    def noise(sigma, sigma_next):
        asked.append((sigma, sigma_next))
        return torch.zeros(SHAPE, dtype=torch.float64)

    if sampler not in DETERMINISTIC:
        run(sampler, model_of(), start(sigmas, SHAPE), sigmas, noise_sampler=noise)
        assert asked == list(pairwise(sigmas[:-1]))


@each_sampler
def test_progress_is_shown_unless_it_is_disabled(sampler, capsys):
    sigmas = karras(3)
    run(sampler, model_of(), start(sigmas, SHAPE), sigmas)
    assert capsys.readouterr() == ("", "")
    sampler(model_of(), start(sigmas, SHAPE), sigmas, disable=False)
    assert "3/3" in capsys.readouterr().err


@each_sampler
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_batch_is_its_images(sampler, steps):
    """Each row with its own source of noise."""
    sigmas = karras(steps)
    x = start(sigmas, SHAPE)

    def rows(indices):
        sources = [noise_sampler((1, *SHAPE[1:]), seed) for seed in indices]
        return lambda sigma, sigma_next: torch.cat([source(sigma, sigma_next) for source in sources])

    def end(indices):
        more = {} if sampler in DETERMINISTIC else {"noise_sampler": rows(indices)}
        return run(sampler, model_of(), x[indices], sigmas, 0.7, **more)

    singles = torch.cat([end([index]) for index in range(4)])
    torch.testing.assert_close(end([0, 1, 2, 3]), singles, rtol=0, atol=1e-12)


@each_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_dtypes(sampler, dtype, schedule, steps):
    sigmas = SCHEDULES[schedule](steps).float()
    x = start(sigmas, SHAPE).to(dtype)
    end = run(sampler, model_of(), x, sigmas)
    assert end.dtype == dtype
    assert end.isfinite().all()
    if sampler in DETERMINISTIC:
        exact = run(sampler, model_of(), x.double(), sigmas.double())
        torch.testing.assert_close(end.double(), exact, rtol=0, atol=60 * torch.finfo(dtype).eps)


KEPT_LEVELS = [14.6146, 5.0, 0.4, 0.1, 0.03]


@each_cfgpp
@pytest.mark.parametrize("sigma", KEPT_LEVELS)
@pytest.mark.parametrize("cfg", [1.0, 3.0, 7.0, 15.0])
@pytest.mark.parametrize("mixtures", [near_unit(), skewed(), (one(), one(0.2))], ids=["three", "skewed", "one"])
def test_a_host_that_keeps_the_noise_gives_the_same(sampler, sigma, cfg, mixtures):
    """Runs from noise, and from images with a little noise; the raw guidance is the harder case."""
    sigmas = karras(20)
    sigmas = torch.cat([torch.tensor([sigma], dtype=torch.float64), sigmas[sigmas < 0.9 * sigma]])
    x = mixtures[1].draw(SHAPE) + start(sigmas, SHAPE)
    for scale in (cfg, calibrated(sampler, sigmas, cfg)):
        image, noise = (run(sampler, Model(*mixtures, keeps), x, sigmas, scale) for keeps in ("image", "noise"))
        torch.testing.assert_close(noise, image, rtol=1e-6, atol=1e-6)


@each_cfgpp
def test_a_model_that_keeps_nothing_is_named(sampler):
    with pytest.raises(MissingUncondError) as refusal:
        run(sampler, model_of("nothing"), start(karras(3), SHAPE), karras(3))
    assert str(refusal.value) == "CFG++ needs the unconditional output, which Model does not keep."


def test_inversion_needs_what_the_model_keeps():
    with pytest.raises(MissingUncondError):
        ours.invert_cfgpp(model_of("nothing"), start(karras(3), SHAPE), karras(3), disable=True)


def test_what_another_run_left_is_not_taken():
    """A model that keeps nothing any more still has the output of before."""
    model = model_of("nothing")
    model.last_noise_uncond = torch.zeros(SHAPE)
    with pytest.raises(MissingUncondError):
        run(ours.sample_euler_cfgpp, model, start(karras(3), SHAPE), karras(3))


@pytest.mark.parametrize("sampler", [sampler for sampler in ALL if sampler not in BASES])
def test_the_others_ask_for_nothing_to_be_kept(sampler):
    model = model_of("nothing")
    run(sampler, model, start(karras(3), SHAPE), karras(3))
    assert not model.need_last_noise_uncond
