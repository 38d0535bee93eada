"""The WebUI's side: the only room that imports the host's modules and gradio."""
