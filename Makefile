# The front door. Each target does its own set-up on a fresh Debian 12 machine (root or sudo); see scripts/setup.sh.
BUILD ?= build
BUILD_TYPE ?= Release
PYTHON_ENV = .venv/bin
SHELL = /bin/bash


.DEFAULT_GOAL = help
.PHONY: help setup build demo test bench sanitize fuzz docs format lint clean

help:  ## show this list
	@awk -F ':.*##' '/^[a-z]+:.*##/ {printf "make %-8s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@scripts/setup.sh

build: setup  ## build everything: .venv/bin/sorus, and a .venv/bin/python that imports sorus
	@[ $(BUILD)/build.ninja -nt .venv/bin/sorus ] || cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=$(BUILD_TYPE)
	@cmake --build $(BUILD)

demo: build  ## train a small GPT on real text for two minutes, then write with it (ARGS: more options of sorus train gpt)
	@$(PYTHON_ENV)/sorus train gpt $(ARGS)
	@echo
	@$(PYTHON_ENV)/sorus generate --prompt "class " --tokens 120

test: build  ## run all tests, C++ and Python; ends with the counts (ARGS: -k and other options of pytest)
	@cmake --build $(BUILD) --target sorus_tests
	@$(PYTHON_ENV)/python scripts/run_tests.py --build $(BUILD) $(ARGS)

bench: build  ## measure against PyTorch and JAX, which are installed into an environment of their own
	@scripts/setup.sh peers
	@$(PYTHON_ENV)/python benchmarks/run.py $(ARGS)

sanitize: setup  ## run the C++ tests with checks of memory and undefined behaviour (ARGS: a --gtest_filter)
	@scripts/sanitize.sh $(ARGS)

fuzz:  ## fuzz the readers of files with libFuzzer (ARGS: seconds for each, names of readers)
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh $(ARGS)

docs: build  ## print the operator pages into docs/operators
	@$(PYTHON_ENV)/python scripts/print_operator_pages.py

format:  ## format C++ and Python
	@scripts/setup.sh lint
	@scripts/lint.sh --fix

lint: build  ## check format, clang-tidy, ruff and mypy (FILES=all: clang-tidy on all files, not only the changed ones)
	@scripts/setup.sh lint
	@scripts/lint.sh --build $(BUILD) $(FILES)

clean:  ## remove what was built; .venv and out/ stay
	rm -rf $(BUILD) build-wheel python/sorus/_core*.so docs/operators
