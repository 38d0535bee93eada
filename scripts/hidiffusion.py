"""What the WebUI loads: the always-on script "HiDiffusion"."""

from lib_fewstep.webui import host

if host.supported():
    from lib_fewstep.webui.hidiffusion import HiDiffusionScript, register

    __all__ = ["HiDiffusionScript"]

    register()
