"""Every question that the extension asks the WebUI about itself, its model and its job."""

from lib_fewstep.webui.common.host.support import supported

if supported():  # on another host nothing else may be imported
    from lib_fewstep.webui.common.host import denoiser, images, job, lists, model, noising, options, progress

__all__ = ["denoiser", "images", "job", "lists", "model", "noising", "options", "progress", "supported"]
