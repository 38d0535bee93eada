"""What the WebUI loads: the always-on script "Model sampling"."""

from lib_fewstep.webui.common import host

if host.supported():
    from lib_fewstep.webui.models.script import ModelScript, register

    __all__ = ["ModelScript"]

    register()
