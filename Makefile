# make run     run a server on http://127.0.0.1:8000; ARGS="--port 8001" passes options
# make test    run all tests                    make check    check format, lint, types and project rules
# make bench   run the benchmarks               make format   format the code
# make compile compile the hot path             make test-compiled   run the tests of the compiled core
# make clean   remove what make has installed and built; chats stay
#
# PYTHON=/path/to/python3 chooses an interpreter; without it, choose_python.py does. BLAZECHAT_CORE=interpreted runs
# without the compiled core (docs/decisions/0011-compiled-core.md).

# Or make looks for ways to build each source from other files.
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
SOURCES := $(wildcard compile_core.py blazechat/*.py blazechat/*/*.py blazechat/*/*/*.py)
COMPILED_TESTS := tests/domain tests/realtime tests/faults tests/clients/test_sdk.py tests/clients/test_interruptions.py \
	tests/project/test_compiled_core.py

.PHONY: run test test-compiled check bench compile clean format constraints

run: .venv/.core
	@exec $(BIN)/blazechat serve $(ARGS)

# The tests of the sources themselves, whether or not they have been compiled.
test: .venv/.dev
	@BLAZECHAT_CORE=interpreted $(BIN)/python -m pytest $(ARGS)

test-compiled: compile
	@BLAZECHAT_CORE=compiled $(BIN)/python -m pytest $(COMPILED_TESTS) $(ARGS)

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 0 tests/project $(ARGS)

bench: .venv/.dev .venv/.core
	@ONLY=$(ONLY) $(BIN)/python -m bench $(ARGS)

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Compile the hot path. A failure is an error here; `make run` continues with the interpreted core.
compile: .venv/.dev
	@$(BIN)/python compile_core.py --require

clean:
	rm -rf .venv dist build blazechat/_compiled .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -not -path './blazechat-data/*' -prune -exec rm -rf {} +

# With uv if it is installed, else with venv and pip from the standard library. An environment that exists keeps its
# interpreter unless PYTHON names one.
.venv/.run: pyproject.toml constraints.txt
	@python="$(PYTHON)"; \
	if [ -z "$$python" ] && [ -x $(BIN)/python ]; then python=$(BIN)/python; fi; \
	if [ -z "$$python" ]; then \
		any=$$(command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11) && \
		python=$$("$$any" choose_python.py) || { [ -n "$$any" ] || echo "Python is not installed."; exit 1; }; \
	fi; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "BlazeChat needs Python 3.11 or newer. Choose one with: make PYTHON=python3.12"; exit 1; }; \
	echo "Installing BlazeChat into .venv, once; this takes up to a minute …"; \
	if command -v uv >/dev/null 2>&1; then \
		{ [ "$$python" = $(BIN)/python ] || uv venv --quiet --allow-existing --python "$$python" .venv; } && \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[server,terminal,compile]'; \
	else \
		{ [ "$$python" = $(BIN)/python ] || "$$python" -m venv .venv || \
			{ echo "Python's venv module is missing. On Debian: apt install python3-venv"; exit 1; }; } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,terminal,compile]'; \
	fi
	@$(BIN)/python -m compileall -q blazechat
	@touch $@

# Does nothing if the compiled core fits the sources already.
.venv/.core: .venv/.run $(SOURCES)
	@if [ "$$BLAZECHAT_CORE" != interpreted ]; then $(BIN)/python compile_core.py && touch $@; fi

.venv/.dev: .venv/.run
	@echo "Installing the development tools …"
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[server,terminal,dev]'; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,terminal,dev]'; \
	fi
	@touch $@

# Pins versions without index URLs, in one file for all platforms. Needs uv.
constraints:
	uv pip compile --universal --no-annotate --no-header --python-version 3.11 --upgrade \
		--extra server --extra terminal --extra compile --extra dev pyproject.toml -o constraints.txt
