# make demo    an experiment on real text with a real model: a table on the screen, a report in results/
# make test    lint, types, tests and the README's code
# make notebooks  runs the notebooks on the whole of lir:pydoc, from an empty cache, and keeps their outputs
# make docs    the documentation as pages to look at: build/docs/index.html
# make peers   the packages that benchmarks/ compares with, in an environment of their own
# make wheels  the sdist and a manylinux wheel for each of PYTHONS that is found, from what is committed: dist/
# make sbom    a CycloneDX list of what a plain installation brings, in dist/, and its licences, docs/licences.md
# make oldest  tests with the oldest dependencies that setup.py admits (tests/oldest.txt), on the oldest Python
# make engines  our engine and those packages on the same embeddings: benchmarks/results/engines.md
#
# make torture  kills, damage, fuzzing, readers, full disks: a few rounds of each, as root; benchmarks/results/torture.md
#              has the commands for many
# make sanitize  the kernels under ASAN, UBSAN and TSAN, in an hour or two
#
# LIR_LIMIT    a folder with LIMIT's small set (corpus.jsonl, queries.jsonl, qrels.jsonl of google-deepmind/limit), for
#              notebook 10; the outputs that are stored were made with it. Empty: that part is left out
# LIR_MEDQUAD  a folder with MedQuAD as notebooks/longer.py reads it, for notebook 14. Empty: docstrings take its place
# TORCH_INDEX  where pip looks for torch, for example https://download.pytorch.org/whl/cpu; empty: where it always looks

PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
VENV ?= .venv
OLDEST_PYTHON ?= python3.11
OLDEST_TESTS ?= tests/test_kernels.py tests/test_contract.py tests/test_old_indexes.py tests/test_index.py tests/test_change.py
TORCH_INDEX ?=
LIR_LIMIT ?=
LIR_MEDQUAD ?=
PIP = $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test lint docs notebooks benchmark engines peers torture sanitize wheels sbom oldest clean

demo: $(VENV)/.installed-demo
	$(VENV)/bin/python -m pyterrier_lir experiment

# Two workers with a thread each: threads of torch that share a core with others mostly wait for each other.
test: $(VENV)/.installed-test lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/.installed-test
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy

docs: $(VENV)/.installed-docs
	$(VENV)/bin/python -m sphinx --nitpicky --fail-on-warning --keep-going -c docs pyterrier_lir/pt_docs build/docs

notebooks: $(VENV)/.installed-test
	rm -rf notebooks/.cache
	LIR_LIMIT=$(and $(LIR_LIMIT),$(abspath $(LIR_LIMIT))) \
	LIR_MEDQUAD=$(and $(LIR_MEDQUAD),$(abspath $(LIR_MEDQUAD))) $(VENV)/bin/python notebooks/execute.py

benchmark: $(VENV)/.installed-test
	$(PIP) maxsim-cpu
	$(VENV)/bin/python benchmarks/maxsim.py

$(VENV)/.installed-%: setup.py pyproject.toml constraints.txt $(wildcard pyterrier_lir/kernels/src/*)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch)
	$(if $(filter test,$*),LIR_KERNELS=all) $(PIP) --editable '.[$*]'
	touch $@

# In this order: what takes longest comes last.
torture: $(VENV)/.installed-test
	for part in disks fuzz_kernels fuzz_frames damage readers memory kills training; do \
	    OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/torture/$$part.py || exit 1; done

sanitize: $(VENV)/.installed-test
	$(VENV)/bin/python benchmarks/torture/sanitizers.py

engines: $(VENV)/.installed-demo peers
	$(VENV)/bin/python benchmarks/engines.py

peers: .venv-peers/.installed

.venv-peers/.installed: benchmarks/peers/requirements.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	touch $@

wheels: .venv-release/.installed
	.venv-release/bin/python tools/wheels.py $(PYTHONS)

sbom: .venv-release/.installed .venv-runtime/.installed
	mkdir -p dist
	.venv-release/bin/python -m cyclonedx_py environment --output-reproducible --output-file dist/pyterrier_lir.cdx.json \
		.venv-runtime/bin/python
	! grep --line-number file:// dist/pyterrier_lir.cdx.json  # a folder of this machine
	.venv-release/bin/python tools/licences.py .venv-runtime/bin/python

oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -c 'from pyterrier_lir import kernels; assert kernels.active() != "numpy", "no kernels"'
	.venv-oldest/bin/python -m pytest -p no:cacheprovider $(OLDEST_TESTS)

.venv-oldest/.installed: setup.py tests/oldest.txt $(wildcard pyterrier_lir/kernels/src/*)
	test -x .venv-oldest/bin/python || $(OLDEST_PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint tests/oldest.txt pytest --editable '.[demo]'
	touch $@

# Without pip, which is no part of it. direct_url.json names this folder, which is nobody's business.
.venv-runtime/.installed: setup.py constraints.txt .venv-release/.installed
	test -x .venv-runtime/bin/python || $(PYTHON) -m venv --without-pip .venv-runtime
	.venv-release/bin/python -m pip --python .venv-runtime/bin/python install --quiet --constraint constraints.txt .
	rm -f .venv-runtime/lib/python3*/site-packages/pyterrier_lir-*.dist-info/direct_url.json
	touch $@

.venv-release/.installed: tools/requirements.txt
	test -x .venv-release/bin/python || $(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet --requirement tools/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache notebooks/.cache
