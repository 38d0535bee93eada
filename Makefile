# Each target does its own set-up in .venv, with a line for whatever takes long.
#   PYTHON  Python 3.10 or 3.11           TORCH  what to give pip for torch (see README: "Tests and demo")
PYTHON ?= $(firstword $(foreach python,python3.11 python3.10 python3,$(if $(shell $(python) --version 2>/dev/null),$(python))))
TORCH ?= torch==2.13.0
#   SEED    the order of the tests; any number shuffles them anew
SEED ?= 1
#   TESTS   folders or files of tests, and options of pytest; all tests if it is empty
TESTS ?=
#   IMAGES  pictures of each way in make live-quality
IMAGES ?= 64
VENV := .venv
RUN := $(VENV)/bin/python
#   WEBUI_DIR        a checkout of the WebUI 1.10.1 that has been started once, for make contract
#   WEBUI_PYTHON     the Python of its environment
WEBUI_PYTHON ?= $(WEBUI_DIR)/venv/bin/python

# The WebUI's own stack has a second environment. pyenv's command for a Python may be there and not work.
HOST_PYTHON ?= $(firstword $(foreach python,python3.10 $(wildcard $(HOME)/.pyenv/versions/3.10*/bin/python3.10),$(if $(shell $(python) --version 2>/dev/null),$(python))))
HOST_TESTS := tests/unet tests/highres tests/sampling tests/guidance tests/models tests/compare tests/webui -m "not long"
ON_HOST = $(MAKE) VENV=.venv-host PYTHON=$(HOST_PYTHON) TORCH=torch==2.1.2

# glibc gives large tensors back at every free, and faulting them in again costs as much as the arithmetic.
export MALLOC_MMAP_THRESHOLD_ := 8589934592
export MALLOC_TRIM_THRESHOLD_ := 8589934592
export OMP_WAIT_POLICY := PASSIVE
# Bytecode is kept: the stand-in of the WebUI imports the extension anew at each start. Only what is imported is compiled.
export PYTHONDONTWRITEBYTECODE :=
export PIP_COMPILE := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo quality train train-autoencoder train-sd15 train-sdxl bench test host-python set-up-host test-host coverage mutants soak lint parity contract live live-ui live-client live-neighbours live-servers live-quality links pins clean

demo: $(VENV)/demo.done
	$(RUN) -m demo

quality: $(VENV)/demo.done
	$(RUN) -m demo --images 64 --full --out demo/out/quality

# Each goes on where it was stopped. With make -j2 train the two checkpoints have a core each.
train: train-sd15 train-sdxl

train-autoencoder: $(VENV)/demo.done
	$(RUN) -m demo.training.autoencoder

train-sd15 train-sdxl: train-%: train-autoencoder
	OMP_NUM_THREADS=1 $(RUN) -m demo.training.unet $*
	OMP_NUM_THREADS=1 $(RUN) -m demo.training.distil $* lcm
	OMP_NUM_THREADS=1 $(RUN) -m demo.training.distil $* tcd

bench: $(VENV)/test.done
	$(RUN) -m bench --out bench/report.json

test: $(VENV)/test.done
	env -u WEBUI_URL $(RUN) -m pytest -n 2 --dist worksteal --randomly-seed=$(SEED) $(TESTS)

host-python:
	@test "$$($(HOST_PYTHON) -c 'import sys; print(sys.version_info[:2] == (3, 10))' 2>/dev/null)" = True || { echo "The tests on the WebUI's own stack need a Python 3.10, on PATH or under pyenv, or its path in HOST_PYTHON."; exit 2; }

set-up-host: host-python
	$(ON_HOST) .venv-host/test.done

# What runs inside the WebUI: on its Python and torch, and its versions of what this extension imports.
test-host: host-python
	$(ON_HOST) test TESTS='$(HOST_TESTS)'

coverage: $(VENV)/test.done
	env -u WEBUI_URL $(RUN) -m pytest -n 2 --dist worksteal --randomly-seed=$(SEED) --cov

mutants: $(VENV)/mutants.done
	rm -rf mutants
	$(RUN) -m mutmut run --max-children 2
	$(RUN) -m mutmut results --all true | $(RUN) -m tools.mutants

# Memory is what is counted, so the allocator gives back what is free.
soak: $(VENV)/test.done
	env -u MALLOC_MMAP_THRESHOLD_ -u MALLOC_TRIM_THRESHOLD_ OMP_NUM_THREADS=1 $(RUN) -m tests.soak

lint: $(VENV)/test.done
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# Guidance beside a newer diffusers than the tests have.
parity: $(VENV)/parity.done
	PYTHONPATH="$(VENV)/parity" $(RUN) -m pytest tests/parity

# The tests of the stand-in, on it and on the modules of a real WebUI, both in that WebUI's own Python. Each has its ldm.
contract: $(VENV)/contract.done
	env -u WEBUI_DIR PYTHONPATH="$(VENV)/contract:$(VENV)/contract-ldm" $(WEBUI_PYTHON) -m pytest -p no:cacheprovider tests/contract
	WEBUI_DIR="$(abspath $(WEBUI_DIR))" PYTHONPATH="$(VENV)/contract" $(WEBUI_PYTHON) -m pytest -p no:cacheprovider tests/contract

live: $(VENV)/test.done
	@test -n "$(WEBUI_URL)" || { echo "make live needs WEBUI_URL, such as http://127.0.0.1:7860"; exit 2; }
	WEBUI_URL=$(WEBUI_URL) $(RUN) -m pytest tests/live --ignore tests/live/test_servers.py --ignore tests/live/test_webuiapi.py

live-ui: $(VENV)/test.done
	@test -n "$(WEBUI_URL)" || { echo "make live-ui needs WEBUI_URL, such as http://127.0.0.1:7860"; exit 2; }
	WEBUI_URL=$(WEBUI_URL) $(RUN) -m pytest tests/browser

live-client: $(VENV)/client.done
	@test -n "$(WEBUI_URL)" || { echo "make live-client needs WEBUI_URL, such as http://127.0.0.1:7860"; exit 2; }
	WEBUI_URL=$(WEBUI_URL) $(RUN) -m pytest tests/live/test_webuiapi.py

live-neighbours: $(VENV)/test.done
	@test -n "$(WEBUI_URL)" || { echo "make live-neighbours needs WEBUI_URL, such as http://127.0.0.1:7860"; exit 2; }
	WEBUI_URL=$(WEBUI_URL) $(RUN) -m pytest -p no:randomly tests/live_neighbours

live-servers: $(VENV)/test.done
	@test -n "$(WEBUI_URL)" -a -n "$(SECOND_URL)" -a -n "$(SECOND_PID)" || { echo "make live-servers needs WEBUI_URL, SECOND_URL and SECOND_PID, the process that it kills"; exit 2; }
	WEBUI_URL=$(WEBUI_URL) SECOND_URL=$(SECOND_URL) SECOND_PID=$(SECOND_PID) $(RUN) -m pytest tests/live/test_servers.py

# In a WebUI with the checkpoints that python -m demo.install puts there; IMAGES pictures of each way.
live-quality: $(VENV)/demo.done
	@test -n "$(WEBUI_URL)" || { echo "make live-quality needs WEBUI_URL, such as http://127.0.0.1:7860"; exit 2; }
	$(RUN) -m demo.live $(WEBUI_URL) --images $(IMAGES)

links: $(VENV)/test.done
	$(RUN) -m tools.links

# The pinned versions, from what is asked for in the files *.in; UPGRADE=--upgrade takes the newest ones.
PIN = $(RUN) -m uv pip compile $(UPGRADE) --quiet --universal --python-version 3.10 --no-annotate \
	--override requirements/torch.txt --no-emit-package torch --no-emit-package setuptools \
	--custom-compile-command "make pins"
UPGRADE ?=

pins: $(VENV)/uv.done
	$(PIN) requirements/test.in --output-file requirements/test.txt
	$(PIN) requirements/demo.in --constraints requirements/test.txt --output-file requirements/demo.txt
	$(PIN) requirements/cluster.in --constraints requirements/test.txt --output-file requirements-cluster.txt
	$(PIN) requirements/mutants.in --constraints requirements/test.txt --output-file requirements/mutants.txt
	$(PIN) requirements/client.in --constraints requirements/test.txt --output-file requirements/client.txt
	$(PIN) --no-deps requirements/parity.in --output-file requirements/parity.txt

clean:
	rm -rf $(VENV) .venv-host demo/out tests/browser/out mutants

$(RUN):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 10), (3, 11)) and f"{sys.executable} is Python {v[0]}.{v[1]}: set PYTHON to a Python 3.10 or 3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.done: requirements/demo.txt requirements/demo-nodeps.txt | $(RUN)
	@echo "== set-up: a private environment in $(VENV) with $(TORCH) and what the demo needs"
	$(RUN) -m pip install --quiet "$(TORCH)" -r requirements/demo.txt
	$(RUN) -m pip install --quiet --no-deps -r requirements/demo-nodeps.txt
	@touch $@

$(VENV)/test.done: $(VENV)/demo.done requirements/test.txt requirements/test-nodeps.txt requirements-cluster.txt
	@echo "== set-up: what the tests need (gradio, the reference implementation, what drives the browser, the tools)"
	$(RUN) -m pip install --quiet --no-deps -r requirements/test.txt
	$(RUN) -m pip install --quiet --no-deps -r requirements/test-nodeps.txt
	@touch $@

$(VENV)/uv.done: | $(RUN)
	$(RUN) -m pip install --quiet uv==0.13.9
	@touch $@

$(VENV)/contract.done: requirements/test.txt requirements/test-nodeps.txt requirements/demo-nodeps.txt
	@test -n "$(WEBUI_DIR)" || { echo "make contract needs WEBUI_DIR, a checkout of the WebUI 1.10.1 that has been started once"; exit 2; }
	@echo "== set-up: for the Python of the WebUI, pytest and what the stand-in is made of, beside the WebUI's own packages"
	$(WEBUI_PYTHON) -m pip install --quiet --target $(VENV)/contract $$(grep -E "^(pytest|hypothesis)==" requirements/test.txt)
	$(WEBUI_PYTHON) -m pip install --quiet --no-deps --target $(VENV)/contract $$(grep "^k-diffusion==" requirements/test-nodeps.txt)
	$(WEBUI_PYTHON) -m pip install --quiet --no-deps --target $(VENV)/contract-ldm -r requirements/demo-nodeps.txt
	@touch $@

$(VENV)/parity.done: $(VENV)/test.done requirements/parity.txt
	@echo "== set-up: a newer diffusers, beside the one that the tests have"
	$(RUN) -m pip install --quiet --no-deps --upgrade --target $(VENV)/parity -r requirements/parity.txt
	@touch $@

$(VENV)/client.done: $(VENV)/test.done requirements/client.txt
	$(RUN) -m pip install --quiet --no-deps -r requirements/client.txt
	@touch $@

$(VENV)/mutants.done: $(VENV)/test.done requirements/mutants.txt
	$(RUN) -m pip install --quiet --no-deps -r requirements/mutants.txt
	@touch $@
