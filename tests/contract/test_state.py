"""How far a job has come."""

from __future__ import annotations

from typing import Any

from tests.contract.helpers import (
    HIRES,
    SMALL,
    act,
    on,
    watched,
)


class TestState:
    def test_jobs_are_counted(self, host: Any) -> None:
        state = host.shared.state
        seen = watched(host, lambda: (state.job, state.job_no, state.job_count), n_iter=2, steps=1)
        assert seen == [("Batch 1 out of 2", 0, 2), ("Batch 2 out of 2", 1, 2)]
        assert (state.job, state.job_no, state.job_count) == ("", 2, 0)
        assert state.dict()["job_timestamp"] != "0"

    def test_a_second_pass_doubles_the_count_once(self, host: Any) -> None:
        state, hires = host.shared.state, {**HIRES}
        assert watched(host, lambda: state.job_count, n_iter=3, steps=1, **hires) == 6 * [6]
        assert state.processing_has_refined_job_count
        act(process=lambda p, *args: setattr(state, "processing_has_refined_job_count", True))
        assert set(watched(host, lambda: state.job_count, n_iter=3, steps=1, **hires)) == {3}

    def test_the_bar_counts_the_steps(self, host: Any) -> None:
        bar = host.shared.total_tqdm
        seen = watched(host, lambda: bar._tqdm and (bar._tqdm.n, bar._tqdm.total), n_iter=2)
        assert seen == [None, *((n, 8) for n in range(1, 8))]
        assert bar._tqdm is None
        host.shared.opts.multiple_tqdm = False
        bar.updateTotal(9)
        assert bar._tqdm is None

    def test_stopping_lets_the_batch_end(self, host: Any) -> None:
        on("cfg_denoiser", lambda params: host.shared.state.stop_generating())
        result = host.api.txt2img({**SMALL, "n_iter": 3})
        assert (len(result.images), len(host.probe.calls)) == (1, 4)
        assert host.shared.state.stopping_generation  # until the next request
        host.txt2img(**SMALL)
        assert not host.shared.state.stopping_generation

    def test_every_step_is_told_to_the_samplers_own_callback(self, host: Any) -> None:
        heard: list[Any] = []

        def listen(p: Any, *args: Any, **kwargs: Any) -> None:
            original = p.sampler.callback_state
            p.sampler.callback_state = lambda d: (heard.append((d["i"], {*d}, d["x"].shape)), original(d))

        act(process_before_every_sampling=listen)
        for sampler, steps in (("Euler", 4), ("Heun", 4), ("DDIM", 3), ("LCM", 4)):
            heard.clear()
            host.txt2img(**{**SMALL, "sampler_name": sampler})
            assert [step for step, _, _ in heard] == list(range(steps)), sampler
            assert all({"x", "i", "sigma", "denoised"} <= keys for _, keys, _ in heard)
            assert host.shared.state.sampling_steps == 4

    def test_jobs_of_two_passes(self, host: Any) -> None:
        state = host.shared.state
        seen = watched(host, lambda: (state.job_no, state.job_count, state.sampling_steps), **HIRES, steps=2)
        assert seen == [*2 * [(0, 2, 2)], *2 * [(1, 2, 2)]]
        assert state.job_no == 2
