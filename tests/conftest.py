"""One thread a worker, the WebUI's attention, no draws by chance or clock, and a running WebUI only when asked for."""

from __future__ import annotations

import gc
import os

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
if "WEBUI_DIR" not in os.environ:  # a real WebUI, which the contract starts, brings an ldm of its own
    from ldm.modules.attention import CrossAttention

    from demo.model.host import sdp_attention

    CrossAttention.forward = sdp_attention  # ldm's own takes several times as long on the CPU
settings.register_profile(
    "the same everywhere",
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("the same everywhere")

collect_ignore = [] if "WEBUI_URL" in os.environ else ["live", "live_neighbours"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test has written travels to another process as UTF-8, which has no half characters."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_collection_finish():
    """What is imported and collected stays to the end: the search for garbage leaves it out, and comes less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(2000, 20, 20)
