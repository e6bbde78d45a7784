# Everything runs in an environment of its own, .venv; `make env` makes it, the other targets do so when it is missing.
PYTHON ?= python3
BIN = .venv/bin
# TensorFlow's start-up notes would bury tables and progress bars.
export TF_CPP_MIN_LOG_LEVEL ?= 3
# Python compiles what it imports; compiling all that is installed takes longer than the rest of the installation. It has
# to keep what it compiled, or each process compiles TensorFlow anew, for 15 seconds; images of containers forbid that.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL = -m pip install --quiet --no-compile --disable-pip-version-check
# A new environment, with what is asked for. uv installs in a fifth of pip's time; pip takes over where uv does not work,
# such as where an index or a proxy stands in the settings of pip alone.
define environment
$(PYTHON) -m venv $(1)
$(1)/bin/python $(PIP_INSTALL) uv && $(1)/bin/uv pip install --quiet --python $(1)/bin/python $(2) \
  || $(1)/bin/python $(PIP_INSTALL) $(2)
endef
# One worker a core; a worker takes neighboring tests, which share what they compute.
PARALLEL ?= --numprocesses=logical --dist=worksteal

.PHONY: env demo test test-slow test-all test-large fuzz env-oldest test-oldest test-torch test-mediapipe test-tfjs tpu-check \
  tpu-check-full lint format dist-check audit licenses bench bench-peers load data-efficiency table docs clean

env: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 13) else \
	    "Python 3.11 or 3.12 is needed, and $(PYTHON) is another; name one with make PYTHON=python3.11 …")'
	$(call environment,.venv,--constraint constraints.txt --editable '.[dev]')
	@touch $@

demo: env
	$(BIN)/python examples/digits_demo.py

test: env
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not tpu"

test-slow: env
	$(BIN)/python -m pytest $(PARALLEL) -m slow --durations=30

# Both at once, what the tests of a file share is then computed once; but for models of published sizes, which leave
# gigabytes to the process that computes them. SLOW_UNTIL=2700 skips the slow ones that would begin after so many seconds.
SLOW_UNTIL ?=
test-all: env
	$(BIN)/python -m pytest $(PARALLEL) -m "not large and not tpu" --durations=30 -rs \
	  $(if $(SLOW_UNTIL),--slow-until=$(SLOW_UNTIL))

test-large: env
	$(BIN)/python -m pytest -m large --durations=10

# Damaged files for every reader, so many seconds each; FUZZ_READERS="npz msgpack" are some of them.
FUZZ_SECONDS ?= 300
fuzz: env
	$(BIN)/python -m tests.hostile.fuzz $(FUZZ_READERS) --seconds $(FUZZ_SECONDS) --keep runs/fuzz

# The last TensorFlow with TPU kernels, and the oldest Keras of pyproject.toml (constraints.txt has the newest of both):
# what a TPU runs, what is private of Keras, and what trains. OLDEST_TESTS=tests is all of them.
OLDEST_TESTS ?= tests/layers tests/test_hub.py tests/test_keras_private.py \
  $(addprefix tests/training/test_,trainer.py optimizers.py reference_trainings.py strategies.py \
  distributed_optimizer.py model_around.py)
OLDEST = .venv-oldest
env-oldest: $(OLDEST)/.complete

test-oldest: env-oldest
	$(OLDEST)/bin/python -m pytest $(PARALLEL) -m "not tpu" $(OLDEST_TESTS)

$(OLDEST)/.complete: pyproject.toml constraints-oldest.txt
	$(call environment,$(OLDEST),--constraint constraints-oldest.txt --editable '.[dev]')
	@touch $@

# Models of published sizes from here to timm and transformers and back, each side in an environment without the other;
# then `keras-nest convert --verify`, which needs both.
TORCH = .venv-torch
test-torch: env $(TORCH)/.complete
	rm -rf runs/torch_check
	$(BIN)/python -m tests.torch_check.ours write runs/torch_check
	HF_HUB_OFFLINE=1 $(TORCH)/bin/python -m tests.torch_check.theirs runs/torch_check
	$(BIN)/python -m tests.torch_check.ours read runs/torch_check
	$(BIN)/python -m tests.torch_check.together runs/torch_check $(TORCH)/lib/python3.*/site-packages

# timm without what it names, torchvision: theirs.py says why.
$(TORCH)/.complete: tests/torch_check/requirements.txt
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python $(PIP_INSTALL) --requirement $<
	$(TORCH)/bin/python $(PIP_INSTALL) --no-deps timm==1.0.31
	@touch $@

# TFLite files in the tasks of MediaPipe: classifier, thresholds, embedder.
MEDIAPIPE = .venv-mediapipe
test-mediapipe: env $(MEDIAPIPE)/.complete
	rm -rf runs/mediapipe_check
	$(BIN)/python -m tests.mediapipe_check.ours runs/mediapipe_check
	$(MEDIAPIPE)/bin/python tests/mediapipe_check/theirs.py runs/mediapipe_check

$(MEDIAPIPE)/.complete: tests/mediapipe_check/requirements.txt
	$(call environment,$(MEDIAPIPE),--requirement $<)
	@touch $@

# A SavedModel through the converter of TensorFlow.js, in node.
TFJS = .venv-tfjs
test-tfjs: env $(TFJS)/.complete
	rm -rf runs/tfjs_check
	mkdir -p runs/tfjs_check
	$(BIN)/python -m tests.tfjs_check.ours runs/tfjs_check
	$(TFJS)/bin/python tests/tfjs_check/convert.py --input_format=tf_saved_model --output_format=tfjs_graph_model \
	  --signature_name=serving_default --saved_model_tags=serve runs/tfjs_check/saved_model runs/tfjs_check/tfjs
	NODE_PATH=$(TFJS)/node_modules node tests/tfjs_check/run.cjs runs/tfjs_check

$(TFJS)/.complete: tests/tfjs_check/requirements.txt
	$(call environment,$(TFJS),--requirement $<)
	$(TFJS)/bin/python $(PIP_INSTALL) --no-deps tensorflowjs==4.22.0
	npm install --silent --no-audit --no-fund --prefix $(TFJS) @tensorflow/tfjs@4.22.0
	@touch $@

# Three gates, none of which needs a TPU: its operations, its strategy, its compiler.
comma := ,
TPUS ?= v4,v5e,v6e
# Names of steps of tpu_check/steps.py, separated by semicolons; all of them if empty.
TPU_STEPS ?=
# Of all of them, for the table of docs/guides/distribution.md; of some, somewhere else.
TPU_RESULTS ?= $(if $(filter v4$(comma)v5e$(comma)v6e;,$(TPUS);$(TPU_STEPS)),results,runs)/tpu_check.csv
# Keras on JAX, with four cores that are none.
FOUR_CORES = KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=4
tpu-check: env .venv-tpu/.complete
	$(BIN)/python -m pytest -m tpu tests/tpu_check
	$(BIN)/python -m tpu_check.lower runs/tpu_check --steps '$(TPU_STEPS)'
	$(FOUR_CORES) $(BIN)/python -m tpu_check.lower runs/tpu_check_jax --steps '$(TPU_STEPS)'
	.venv-tpu/bin/python -m tpu_check.compile runs/tpu_check runs/tpu_check_jax --tpus $(TPUS) --results $(TPU_RESULTS)

# NesT-T at 224 pixels and batch 64, and ViT-H/14 on four cores that share its weights, which take minutes to compile.
tpu-check-full: env .venv-tpu/.complete
	$(BIN)/python -m tpu_check.lower --full-size runs/tpu_check_full
	$(FOUR_CORES) $(BIN)/python -m tpu_check.lower --full-size runs/tpu_check_full_jax
	.venv-tpu/bin/python -m tpu_check.compile runs/tpu_check_full runs/tpu_check_full_jax --tpus $(TPUS) --results results/tpu_check_full.csv

.venv-tpu/.complete: tpu_check/requirements.txt
	$(call environment,.venv-tpu,--requirement tpu_check/requirements.txt)
	@touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Builds the distributions, and uses the wheel in an environment of its own, away from this directory.
dist-check: env
	$(BIN)/python .ci/dist_check.py

# Known vulnerabilities of what constraints.txt pins, and licenses of what an installation brings.
audit: env .venv-audit/.complete
	.venv-audit/bin/python .ci/audit.py
	$(BIN)/python .ci/licenses.py --check

.venv-audit/.complete:
	$(call environment,.venv-audit,'pip-audit>=2.9$(comma)<3')
	@touch $@

licenses: env
	$(BIN)/python .ci/licenses.py
	$(BIN)/python -m benchmarks.tables

# 100,000 requests of 16 clients, some minutes; see benchmarks/load.py.
load: env
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.tables

bench: env
	$(BIN)/python -m benchmarks.forward
	$(BIN)/python -m benchmarks.conversion
	$(BIN)/python -m benchmarks.input_pipeline
	$(BIN)/python -m benchmarks.train_step
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python examples/digits_demo.py && cp runs/demo/summary.json results/demonstration.json

# The forward pass beside timm, keras-hub, Flax, ONNX Runtime and OpenVINO, in an environment with all of them, and the
# train step beside timm and Flax. PEERS='--models Mixer-B_16 --batch 32' measures other forward passes.
PEERS_ENV = .venv-peers
PEERS ?=
bench-peers: $(PEERS_ENV)/.complete
	$(PEERS_ENV)/bin/python -m benchmarks.peers $(PEERS)
	$(PEERS_ENV)/bin/python -m benchmarks.peers_training

$(PEERS_ENV)/.complete: benchmarks/peers.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS_ENV)
	$(PEERS_ENV)/bin/python $(PIP_INSTALL) --constraint constraints.txt \
	  --requirement benchmarks/peers.txt --editable '.[flax,onnx]'
	$(PEERS_ENV)/bin/python $(PIP_INSTALL) --no-deps timm==1.0.31
	@touch $@

# 36 short trainings on the digits; see benchmarks/data_efficiency.py.
data-efficiency: env
	$(BIN)/python -m benchmarks.data_efficiency

# Measures every published model against the reference outputs, and writes the tables of README and docs.
table: env
	$(BIN)/python -m pytest -m slow tests/models/test_published_models.py
	$(BIN)/python -m benchmarks.model_table

# The site, in site/. Docstrings are read from the sources, so that its environment needs no TensorFlow.
docs: .venv-docs/.complete
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-docs/.complete: docs/requirements.txt
	$(call environment,.venv-docs,--requirement docs/requirements.txt)
	@touch $@

clean:
	rm -rf .venv .venv-audit .venv-docs .venv-tpu $(PEERS_ENV) $(MEDIAPIPE) $(TFJS) $(TORCH) $(OLDEST) \
	  build dist site *.egg-info runs
