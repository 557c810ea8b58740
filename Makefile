# make run     run a server on http://127.0.0.1:8000; ARGS="--port 8001" passes options
# make test    run all tests                    make check    check format, lint, types and project rules
# make bench   run the benchmarks               make format   format the code
# make clean   remove what make has installed and built; chats stay

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench compile clean format constraints

run: .venv/.run
	@exec $(BIN)/blazechat serve $(ARGS)

test: .venv/.dev
	@$(BIN)/python -m pytest $(ARGS)

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 0 tests/project $(ARGS)

bench: .venv/.dev
	@ONLY=$(ONLY) $(BIN)/python -m bench $(ARGS)

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Compile the hot path with mypyc for this Python; a failure is an error here.
compile: .venv/.dev
	@$(BIN)/python compile_core.py --require

clean:
	rm -rf .venv dist build blazechat/_compiled .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -not -path './blazechat-data/*' -prune -exec rm -rf {} +

# With uv if it is installed, else with venv and pip from the standard library.
.venv/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "BlazeChat needs Python 3.11 or newer. Choose one with: make PYTHON=python3.12"; exit 1; }
	@echo "Installing BlazeChat into .venv, once; this takes up to a minute …"
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[server,terminal]'; \
	else \
		{ $(PYTHON) -m venv .venv || { echo "Python's venv module is missing. On Debian: apt install python3-venv"; exit 1; }; } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,terminal]'; \
	fi
	@$(BIN)/python -m compileall -q blazechat
	@touch $@

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
