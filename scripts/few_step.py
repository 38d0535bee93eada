"""What the WebUI loads: the always-on script "Few-Step", its samplers and schedules."""

from lib_fewstep.webui.common import host

if host.supported():
    from lib_fewstep.webui.fewstep.script import FewStepScript, register

    __all__ = ["FewStepScript"]

    register()
