"""What the WebUI loads: the always-on script "Guidance"."""

from lib_fewstep.webui.common import host

if host.supported():
    from lib_fewstep.webui.guidance.script import GuidanceScript, register

    __all__ = ["GuidanceScript"]

    register()
