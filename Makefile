# make demo   the main job on CPU, in a few minutes; names the files it made
# make test   everything CI checks
# Both create .venv and install what they need.

PYTHON ?= python3
BIN := .venv/bin
COMPILED := rewards/_matching.c trainers/_attention.c $(wildcard sandboxes/namespaces/launcher/*.[ch])
ON_CPU := TORCH_EXTENSIONS_DIR=$(CURDIR)/.venv-cluster/torch_extensions HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 \
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind
PARTS := tasks envs rewards sandboxes agents trainers evals

.PHONY: demo test test-cluster check types lint bench clean

demo: .venv/ready
	$(BIN)/python examples/demo.py

test: check
	$(BIN)/python -m pytest
	$(MAKE) test-cluster

# The cluster engine and vLLM pin what they need, so they have a test environment of their own: 4 GB, two to seven minutes
# to install. torchvision and its kin are built for another torch, and nothing here needs them. DeepSpeed compiles its
# optimiser when it is first used, and keeps that in the environment. What runs there are the tests that are skipped in the
# main one for want of these packages: their reason names this target.
test-cluster: .venv-cluster/ready
	$(ON_CPU) .venv-cluster/bin/python -m pytest -W ignore -o timeout=900 $(shell grep -l 'make test-cluster' tests/test_*.py)

check: lint types

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy cannot follow an editable install whose folders lie beside each other, so it reads them through links.
types: .venv/ready
	rm -rf build/types && mkdir -p build/types/stepgym
	ln -s $(CURDIR)/stepgym/* build/types/stepgym/
	for part in $(PARTS); do ln -s $(CURDIR)/$$part build/types/stepgym/$$part; done
	cd build/types && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml

bench: .venv/ready .venv-cluster/ready
	for file in $(filter-out benchmarks/cluster_%,$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python $$file || exit 1; done
	for file in benchmarks/cluster_*.py; do $(ON_CPU) .venv-cluster/bin/python $$file || exit 1; done

clean:
	rm -rf .venv .venv-cluster build dist *.egg-info rewards/*.so trainers/*.so sandboxes/namespaces/_launcher

.venv/ready: pyproject.toml setup.py constraints.txt $(COMPILED)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-cluster/ready: pyproject.toml setup.py constraints.txt cluster-requirements.txt $(COMPILED)
	$(PYTHON) -m venv .venv-cluster
	.venv-cluster/bin/python -m pip install --quiet torch==2.13.0 setuptools wheel numpy
	DS_BUILD_OPS=0 .venv-cluster/bin/python -m pip install --quiet --no-build-isolation -r cluster-requirements.txt
	.venv-cluster/bin/python -m pip install --quiet --no-deps openrlhf==0.11.2
	.venv-cluster/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	.venv-cluster/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	rm -r .venv-cluster/lib/python*/site-packages/tests  # OpenRLHF's own, which would hide ours
	touch $@
