"""Run by the WebUI at each start: what the extension needs ships with the WebUI; only what is missing is installed."""

import launch

SHIPPED = {"torch": "torch", "safetensors": "safetensors", "numpy": "numpy", "PIL": "Pillow"}
SHIPPED |= {"matplotlib": "matplotlib", "pandas": "pandas", "skimage": "scikit-image"}
"""Import names, and the packages that bring them."""

for module, package in SHIPPED.items():
    if not launch.is_installed(module):
        launch.run_pip(f"install {package}", f"{package} for sd-webui-fewstep")
