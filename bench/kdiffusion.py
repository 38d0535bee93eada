"""k-diffusion's samplers and its schedule, without what its package brings along."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from types import ModuleType

import scipy.integrate  # noqa: F401 - k-diffusion imports it; its own modules are to stay

ROOT = "k_diffusion"
ABSENT = ("torchdiffeq", "torchsde", "torchvision", "torchvision.transforms")


def _import() -> tuple[ModuleType, ModuleType]:
    """`sampling` and `external` of the installed package; afterwards `sys.modules` knows nothing of it."""
    package = ModuleType(ROOT)
    package.__path__ = [str(importlib.metadata.distribution("k-diffusion").locate_file(ROOT))]
    stubs = {name: ModuleType(name) for name in ABSENT}
    vars(stubs["torchdiffeq"])["odeint"] = vars(stubs["torchvision.transforms"])["functional"] = None
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] in {ROOT, *ABSENT}}
    for name in ours:
        del sys.modules[name]
    try:
        sys.modules.update({ROOT: package, **stubs})
        return importlib.import_module(f"{ROOT}.sampling"), importlib.import_module(f"{ROOT}.external")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in {ROOT, *ABSENT}]:
            del sys.modules[name]
        sys.modules.update(ours)


sampling, external = _import()
