# Everything that one types to set up, run, test and measure Sesame. All targets may be repeated; all set-up lives in .venv.
# Needs only Python 3.11 or newer (with venv); choose one with `make PYTHON=/path/to/python3.12 …`.

.DEFAULT_GOAL := help
.PHONY: help install demo start test test-all test-thorough test-user test-lowest check lock torture bench bench-invoke bench-agents bench-cold bench-idle bench-logs bench-logs-query bench-metrics bench-catalog bench-async bench-dev bench-testing bench-custom bench-overload bench-restart bench-soak bench-placement bench-full clean

BIN := .venv/bin
# Four processes of pytest for two cores, as tests also wait: with three, the cores idled for 18 % of the time. Each file's
# tests stay together: they share servers.
PARALLEL ?= -n 4 --dist loadfile --no-loadscope-reorder
# Tests start hundreds of processes. Each compiles everything that it imports unless it finds bytecode. It is kept in .venv,
# also where the environment forbids it beside the sources.
WITH_BYTECODE := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/.venv/bytecode
UNIT := --ignore=tests/journeys --ignore=tests/packaging --ignore=tests/docs --ignore=tests/examples --ignore=tests/security
INSTALLED := .venv/.installed
COMPILED := .venv/.compiled
SHIM_COMPILED := .venv/.shim-compiled

help:  ## Shows this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | column -t -s '|'

install: $(INSTALLED)  ## Sets up .venv, and the interpreter and packages of every runtime (idempotent)
	@$(BIN)/sesame runtimes get || echo "Going on without: functions of these runtimes are refused until they are there." >&2
	@$(BIN)/sesame runtimes install

$(INSTALLED): pyproject.toml uv.lock scripts/setup
	@scripts/setup
	@touch $@

# Processes that start at once would each compile everything that all of them import.
$(COMPILED): $(INSTALLED) | $(SHIM_COMPILED)
	@$(WITH_BYTECODE) sh -c '$(BIN)/pytest -qq --collect-only tests/[a-i]*/ >/dev/null & \
		$(BIN)/pytest -qq --collect-only tests/[j-z]*/ tests/test_*.py >/dev/null; wait'
	@touch $@

$(SHIM_COMPILED): $(INSTALLED) $(wildcard src/sesame/runtime/*/*.py)
	@$(BIN)/python scripts/compile_shim.py
	@touch $@

demo: install  ## Deploys and calls the manual's functions, start to end, on free ports
	@$(BIN)/sesame demo $(if $(CI),--strict) $(ARGS)

start: install  ## Starts Sesame on its usual ports, with its data in ./sesame-data
	@$(BIN)/sesame start $(ARGS)

test: install $(COMPILED)  ## Every promise, by its cheapest tests
	@$(WITH_BYTECODE) $(BIN)/pytest $(PARALLEL) $(ARGS)

test-thorough: install $(COMPILED)  ## The tests that repeat a promise: other runtimes, databases, tools, longer runs
	@$(WITH_BYTECODE) $(BIN)/pytest $(PARALLEL) -m 'thorough and not torture' $(ARGS)

test-all: install $(COMPILED)  ## Both: every test but the torture tests
	@$(WITH_BYTECODE) $(BIN)/pytest $(PARALLEL) -m 'not torture' $(ARGS)

test-user: install  ## The journeys as an ordinary user: as nobody when started by root
	@scripts/as-nobody $(BIN)/pytest -q -p no:cacheprovider tests/journeys $(ARGS)

test-lowest: install  ## The unit tests with the lowest declared versions, in .venv-lowest
	@scripts/test-lowest $(PARALLEL) $(UNIT) -m 'not torture and not alone' $(ARGS)

check: $(INSTALLED) $(COMPILED)  ## Format, lint, types, architecture and unit tests: a minute
	@$(BIN)/ruff format --check src tests benchmarks
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/mypy
	@$(WITH_BYTECODE) $(BIN)/pytest -q $(PARALLEL) $(UNIT) -m 'not torture and not thorough and not alone' $(ARGS)

torture: install  ## The tests that take minutes, and property tests with many examples
	@$(BIN)/uv sync --frozen --inexact --quiet --group fuzz
	@$(WITH_BYTECODE) $(BIN)/pytest -m torture $(ARGS)
	@$(WITH_BYTECODE) EXAMPLES_TIMES=20 $(BIN)/pytest -m 'not torture' $$(grep -rl support.examples tests --include=test_*.py) $(ARGS)

.PHONY: docs
docs: $(INSTALLED)  ## The documentation site, into site/; a link that leads nowhere fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean $(ARGS)

bench: bench-invoke  ## The short benchmarks

# Each prints ratios of neighbours in time, with their spread; nothing else should run on the machine meanwhile.
bench-invoke: install
	@$(BIN)/uv sync --frozen --inexact --quiet --group bench
	@$(BIN)/python -m benchmarks.invoke $(ARGS)

bench-agents: install  ## Several agents beside one
	@$(BIN)/python -m benchmarks.agents $(ARGS)

bench-cold: install
	@$(BIN)/python -m benchmarks.cold $(ARGS)

bench-idle: install
	@$(BIN)/python -m benchmarks.idle $(ARGS)

bench-logs: install
	@$(BIN)/python -m benchmarks.logs $(ARGS)

bench-metrics: install
	@$(BIN)/python -m benchmarks.metrics $(ARGS)

bench-logs-query: install
	@$(BIN)/python -m benchmarks.logs_query $(ARGS)

bench-catalog: install
	@$(BIN)/python -m benchmarks.catalog $(ARGS)

bench-async: install
	@$(BIN)/uv sync --frozen --inexact --quiet --group bench
	@$(BIN)/python -m benchmarks.bench_async $(ARGS)

bench-custom: install
	@$(BIN)/python -m benchmarks.custom $(ARGS)

bench-overload: install
	@$(BIN)/python -m benchmarks.overload $(ARGS)

bench-restart: install
	@$(BIN)/python -m benchmarks.restart $(ARGS)

bench-soak: install
	@$(BIN)/python -m benchmarks.soak $(ARGS)

bench-dev: install
	@$(WITH_BYTECODE) $(BIN)/python -m benchmarks.dev $(ARGS)

bench-testing: install
	@$(WITH_BYTECODE) $(BIN)/python -m benchmarks.testing $(ARGS)

bench-keep-alive: install
	@$(BIN)/uv sync --frozen --inexact --quiet --group bench
	@$(BIN)/python -m benchmarks.keep_alive $(ARGS)

bench-placement: install
	@$(BIN)/uv sync --frozen --inexact --quiet --group bench
	@$(BIN)/python -m benchmarks.placement $(ARGS)

bench-full: bench-cold bench-idle bench-logs bench-logs-query bench-metrics bench-catalog bench-async bench-dev bench-testing bench-overload  ## All benchmarks, and the short ones longer
	@$(MAKE) --no-print-directory bench-invoke ARGS="--rounds 15 --seconds 5"

lock: $(INSTALLED)  ## Resolves the packages of every runtime anew (needs all interpreters and a network)
	@$(BIN)/python scripts/lock_runtimes.py $(ARGS)

clean:  ## Removes .venv and what the tools left
	@rm -rf .venv .venv-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis site
