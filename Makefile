# Two targets do everything: `make run` starts the quick start, `make test` passes the tests. Both make their own virtual environment.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# where Debian puts haproxy and nginx, which an ordinary user's path leaves out
export PATH := $(PATH):/usr/sbin:/sbin
# the tests wait more than they work: twice as many at once as there are processors; tests of one file stay together
PARALLEL ?= -n $$(( 2 * $$(nproc) )) --dist loadfile

.PHONY: run test check quick lint system fuzz bench compiled reference loglines man dist deb deb-test image-test peers clean help

help:
	@echo "make run     install into $(VENV) and start etc/quickstart.cfg"
	@echo "make test    everything: checks, quick tests, system tests (installs Debian's peers where it may)"
	@echo "make check   linters, types, import layers and the quick tests, under a minute"
	@echo "make fuzz    the fuzz targets, longer than in the tests"
	@echo "make bench   side by side with Debian's haproxy; results go to bench/results/"
	@echo "make compiled   a wheel in dist/ whose data path is compiled by mypyc (a C compiler is needed), and the system tests on it"
	@echo "make dist     sdist and wheel in dist/"
	@echo "make deb      a Debian package in build/deb/ (debhelper and dh-python are needed); make deb-test and image-test run it and the image in a clean root"
	@echo "make man      man pages and completions for bash and zsh in build/manual/"
	@echo "make reference   docs/reference/ from the docstrings, after a keyword was added or changed"
	@echo "make loglines    forkproxy/rules/loglines.py from the aliases of log formats, after one was changed"

$(VENV)/.run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 is needed (make PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

run: $(VENV)/.run
	@echo
	@echo "  curl localhost:8080            # twice: two servers answer in turn"
	@echo "  curl localhost:8404/metrics    # what Prometheus scrapes"
	@echo "  Ctrl-C ends it"
	@echo
	@exec $(BIN)/forkproxy -f etc/quickstart.cfg

# the peers first: quick tests compare files and command lines with haproxy, too
test: peers check system

check: lint quick

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

quick: $(VENV)/.dev
	$(BIN)/pytest -rs tests -m "not system" -n auto --dist loadfile

# The real peers: haproxy, nginx, wrk … A test that needs one that cannot be had is skipped and says so.
peers: $(VENV)/.dev
	@sh tests/install-peers.sh $(BIN)/python

system: $(VENV)/.dev peers
	$(BIN)/pytest -rs tests -m system $(PARALLEL)

fuzz: $(VENV)/.dev
	FORKPROXY_FUZZ=long $(BIN)/pytest tests/fuzz --timeout=1800

reference: $(VENV)/.run
	$(BIN)/python -m forkproxy.reference docs/reference

loglines: $(VENV)/.run
	$(BIN)/python -c "from forkproxy.rules.logformat import write_down; write_down()"

man: $(VENV)/.run
	$(BIN)/python -m forkproxy.manual build/manual
	@ls build/manual

dist: $(VENV)/.dev
	$(BIN)/python -m build --no-isolation --outdir dist

# with Debian's own Python, not with one that stands before it in the path
DEB ?= build/deb
deb:
	rm -rf $(DEB)
	mkdir -p $(DEB)/forkproxy
	tar -c --exclude=__pycache__ debian docs etc forkproxy CHANGELOG.md LICENSE README.md pyproject.toml setup.py | tar -x -C $(DEB)/forkproxy
	cd $(DEB)/forkproxy && PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage --no-sign --build=binary
	@ls $(DEB)/*.deb

deb-test: deb
	@sh tests/packaging/deb-test.sh $(DEB)/forkproxy_*_all.deb

image-test:
	@sh tests/packaging/image-test.sh

bench: $(VENV)/.dev peers
	$(BIN)/python -m bench

compiled: $(VENV)/.dev peers
	rm -rf build/compiled build/lib.* build/temp.* build/bdist.* build/forkproxy build/__native*
	FORKPROXY_COMPILED=1 $(BIN)/pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps -w dist .
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target build/compiled dist/forkproxy-*-linux_*.whl
	$(BIN)/pytest -o pythonpath="build/compiled ." tests/session tests/unit/rules tests/unit/http tests/unit/state tests/unit/balance \
	    tests/unit/net tests/unit/wire tests/unit/test_listing.py tests/unit/test_reference.py
	FORKPROXY_PACKAGE=$(CURDIR)/build/compiled $(BIN)/pytest -rs -m "system and not interpreted" tests $(PARALLEL)
	@ls dist/forkproxy-*-linux_*.whl

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
