"""The high-resolution methods: each is a file here and an entry in `METHODS`."""

from __future__ import annotations

from typing import Any

from lib_fewstep.highres.methods.base import Method
from lib_fewstep.highres.methods.deep_shrink import DeepShrink
from lib_fewstep.highres.methods.hidiffusion import HiDiffusion

METHODS: tuple[Method[Any], ...] = (
    HiDiffusion(),
    DeepShrink(),
)
"""In the order in which they are offered. A new one comes last: settings may be sent as a list."""

BY_NAME = {method.name: method for method in METHODS}
