"""The host's progress bar and stop buttons."""

from __future__ import annotations

from collections.abc import Callable

from modules import shared
from torch import Tensor


def stopped() -> bool:
    """Whether the user has ended the image that was being made."""
    return bool(shared.state.interrupted or shared.state.skipped)


def wants_no_more() -> bool:
    """Whether the user wants no further image."""
    return bool(shared.state.interrupted or shared.state.stopping_generation)


def announce_jobs(jobs: int, steps: int) -> None:
    """Tell the WebUI's progress bar how many jobs, and how many steps, are to come."""
    shared.state.job_count = jobs
    shared.total_tqdm.updateTotal(steps)


def show_progress(text: str | None) -> None:
    """A text in the WebUI's progress bar."""
    shared.state.textinfo = text


def change_preview(change: Callable[[Tensor], Tensor]) -> None:
    """Change the latents of which the live preview is made."""
    if shared.state.current_latent is not None:
        shared.state.current_latent = change(shared.state.current_latent)
