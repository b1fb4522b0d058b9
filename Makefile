# Two commands do everything: `make demo` (the whole chain on this machine) and `make test`.
PYTHON ?= python3
VENV ?= .venv
# Where torch comes from; on Linux the default package index serves its CUDA build. See the README for the CPU build.
TORCH_SOURCE ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The official devkits need an environment of their own: they hold numpy below 2.
ORACLES := $(VENV)/oracles/.installed
SURFACES := $(VENV)/tensorrt/.installed
# ROS 2 from PyPI changes how its environment's Python starts, so it stays out of ours. pip will take no extras from a
# constraints file, hence --requirement.
ROS := $(VENV)/ros/.installed
JAZZY := $(VENV)/jazzy/.installed
ROS_HERE := $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m))
# Worker processes of the tests, each computing with one thread unless a test asks for more; 0: none, for a debugger.
PYTEST_WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist worksteal
# The nodes' tests wait more than they compute; each worker has a ROS domain of its own.
ROS_PYTEST ?= --numprocesses $(PYTEST_WORKERS) --dist loadfile
ROS_MESSAGES := scripts/build_ros_messages.py $(wildcard sdk/understudy/bags/msg/*/*.msg tests/ros_nodes/msg/*/*.msg)

.PHONY: demo oracles surfaces ros jazzy test test-ros test-jazzy test-slow test-optional \
	lint types imports check bench bench-ros ledger ledger-page soak wrong-inputs clean

$(STAMP): pyproject.toml constraints.txt
	@echo "[understudy] installing into $(VENV) (torch first, pinned by constraints.txt)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH_SOURCE) torch
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[rtx]' || \
		echo "[understudy] tensorrt-rtx is not available here: the demo skips its build"
	@touch $@

$(ORACLES): constraints-oracles.txt
	@echo "[understudy] installing the official devkits into $(dir $@)"
	@test -x $(dir $@)bin/python || $(PYTHON) -m venv $(dir $@)
	@$(dir $@)bin/python -m pip install --quiet --no-deps --requirement constraints-oracles.txt
	@touch $@

oracles: $(ORACLES)

# The genuine bindings of three TensorRT versions, over libraries of empty functions: gcc and binutils, Linux x86-64.
$(SURFACES): scripts/tensorrt_surfaces.py | $(STAMP)
	@echo "[understudy] installing the bindings of three TensorRT versions into $(dir $@)"
	@$(BIN)/python scripts/tensorrt_surfaces.py $(dir $@)
	@touch $@

surfaces: $(SURFACES)

$(ROS): constraints-ros.txt
$(JAZZY): constraints-ros-jazzy.txt
$(ROS) $(JAZZY): pyproject.toml $(ROS_MESSAGES)
	@echo "[understudy] installing ROS 2 for tests into $(dir $@) and building vision_msgs and tf2_msgs"
	@test -x $(dir $@)bin/python || $(PYTHON) -m venv $(dir $@)
	@$(dir $@)bin/python -m pip install --quiet --requirement $(filter constraints-%,$^) --editable '.[cpu,bags]'
	@$(dir $@)bin/python scripts/build_ros_messages.py
	@touch $@

ros: $(ROS)

jazzy: $(JAZZY)

demo: $(STAMP)
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh

# The nodes' tests need their own environment, which exists for one kind of machine.
test: $(STAMP) $(ORACLES) $(if $(ROS_HERE),$(ROS))
	@$(PYTEST) -m "not slow" --ignore tests/ros_nodes
	@$(if $(ROS_HERE),$(MAKE) --no-print-directory test-ros,echo "[understudy] no nodes' tests: ROS 2 from PyPI is for Linux x86-64")

# Real nodes over real DDS on this machine's loopback alone.
test-ros: $(ROS)
	@$(VENV)/ros/bin/python -m pytest $(ROS_PYTEST) -m "not slow" tests/ros_nodes

# The same under ROS 2 Jazzy, the long-term release, but for what is the same under each.
test-jazzy: $(JAZZY)
	@$(VENV)/jazzy/bin/python -m pytest $(ROS_PYTEST) -m "not slow and not any_distribution" tests/ros_nodes

# The long ones, of the nodes too.
test-slow: $(STAMP) $(ORACLES) $(ROS)
	@$(PYTEST) -m slow --ignore tests/ros_nodes
	@$(VENV)/ros/bin/python -m pytest $(ROS_PYTEST) -m slow tests/ros_nodes

# What most people never install: adds some 600 MB to the environment.
test-optional: $(STAMP)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mlflow,ray,rerun]'
	@$(BIN)/python -m pytest tests/training/test_tracking.py tests/training/data/test_showing.py tests/sdk/fleet

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports

check: lint types imports

bench: $(STAMP) $(ORACLES)
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# The real node over DDS: some four minutes.
bench-ros: $(ROS)
	@$(VENV)/ros/bin/python -m benchmarks.ros.end_to_end

# A study over methods on the fixed benchmark, then the page of all ledgers (docs/studies.md). End it any time, start it
# again; STUDY=... another one, LEDGER_OPTIONS="--preset gpu" on a GPU.
STUDY ?= lidar
LEDGER_SCENES := $(if $(filter camera,$(STUDY)),scenes-surround-32,scenes-32)
LEDGER_DATA ?= runs/$(LEDGER_SCENES)
LEDGER_OPTIONS ?= --jobs 2
ledger: $(STAMP)
	@test -d $(LEDGER_DATA) || $(BIN)/understudy scenes $(LEDGER_DATA) --benchmark $(LEDGER_SCENES)
	-@$(BIN)/understudy ledger run $(STUDY) --data $(LEDGER_DATA) --out runs/$(STUDY) $(LEDGER_OPTIONS)
	@mkdir -p docs/ledgers && cp runs/$(STUDY)/ledger.json docs/ledgers/$(STUDY).json
	@$(MAKE) --no-print-directory ledger-page

# docs/ledger.md and its pictures, from the ledgers that are kept.
ledger-page: $(STAMP)
	@$(BIN)/understudy ledger report $(sort $(wildcard docs/ledgers/*.json)) --out docs/ledger.md

# An hour of messages through the node's core in virtual time, then ten minutes of the real node.
soak: $(STAMP) $(ROS)
	@$(BIN)/python -m benchmarks.soak_core
	@$(VENV)/ros/bin/python -m benchmarks.ros.soak --minutes 10

wrong-inputs: $(STAMP)
	@$(BIN)/python -m tests.integration.wrong_inputs

clean:
	rm -rf $(VENV) demo build dist
