"""One thread a worker, and tests against a running WebUI only when they are asked for."""

from __future__ import annotations

import os

import pytest
import torch

torch.set_num_threads(1)

collect_ignore = [] if "WEBUI_URL" in os.environ else ["live"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test has written travels to another process as UTF-8, which has no half characters."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
