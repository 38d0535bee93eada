"""What the WebUI loads: the always-on script "Few-Step record"."""

from lib_fewstep.webui.common import host

if host.supported():
    from lib_fewstep.webui.record.script import RecordScript, register

    __all__ = ["RecordScript"]

    register()
