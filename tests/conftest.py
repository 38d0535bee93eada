"""One thread a worker, and tests against a running WebUI only when they are asked for."""

from __future__ import annotations

import os

import torch

torch.set_num_threads(1)

collect_ignore = [] if "WEBUI_URL" in os.environ else ["live"]
