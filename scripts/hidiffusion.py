"""What the WebUI loads: the always-on script "HiDiffusion"."""

from lib_fewstep.webui.common import host

if host.supported():
    from lib_fewstep.webui.highres.script import HiDiffusionScript, register

    __all__ = ["HiDiffusionScript"]

    register()
