# `make` alone lists what there is. Everything is installed inside the checkout, the first time it is needed.
.DEFAULT_GOAL := help
.PHONY: help setup run test check proof lint format docs package lock audit bench kills chaos soak clean

SET_UP := @command -v python3 >/dev/null \
	|| { echo "python3 is missing: apt-get install python3 python3-venv" >&2; exit 2; }; \
	exec python3 tools/bootstrap.py

help: ## list these commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18
	@echo "PYTHON=/path/to/python chooses the Python (default: 3.13 where there is one, else python3 from 3.11 on)."

setup: ## install everything that run and test need
	$(SET_UP)

run: ## the whole app with local storage and sample leads, until Ctrl-C (PORT=, ONCE=1, KEEP=1, HOST=func|devhost, DEMO=all)
	$(SET_UP) tools.run

test: ## every check: lint, imports, types, all tests (QUICK=1 those that hang on the Python version, HOST=func|devhost|ADDRESS)
	$(SET_UP) tools.check

proof: ## samples, end-to-end tests and a short chaos on the real host (HOST=func|devhost|ADDRESS)
	$(SET_UP) tools.against_host

check: ## lint, types and the tests that need no server, within a minute
	$(SET_UP) tools.check --quickly

lint: ## lint, imports and types alone
	$(SET_UP) tools.check --no-tests

format: ## format the code in place
	$(SET_UP) ruff format .

docs: ## rewrite the generated parts of the documents
	$(SET_UP) tools.generated_docs

package: ## dist/marketplace-leads-VERSION.zip: the app with its packages and byte code, ready to be deployed
	$(SET_UP) tools.package

lock: ## rewrite requirements.txt from requirements.in (UPGRADE=1: newest versions)
	$(SET_UP) tools.lock $(if $(UPGRADE),--upgrade)

audit: ## look for known vulnerabilities in what is deployed; needs the network
	$(SET_UP) tools.audit

bench: ## speed and cost beside the floor, about ten minutes (ROWS=intake,delivery,…  STRICT=1)
	$(SET_UP) benchmarks

kills: export EACH_REQUEST = 1
kills: ## a worker killed before and after each single storage request of every scenario, some minutes
	$(SET_UP) pytest tests/chaos/test_every_request.py tests/chaos/test_commands.py -q

chaos: ## workers killed at random while leads come in, as long as you like (N=2000 WORKERS=2 SEED=…)
	$(SET_UP) tests.chaos

soak: ## one process delivers N=20000 leads and has to stay flat, then what measures real time; on a quiet machine
	$(SET_UP) tests.chaos.soak
	$(SET_UP) pytest -m real_time -q tests

clean: ## remove what was installed and what runs left behind
	rm -rf .venv .tools .run .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
