# The commands of this project; `just --list` shows them.
set shell := ["bash", "-euo", "pipefail", "-c"]

python := ".venv/bin/python"
uv := ".venv/bin/uv"

# compiled once: where a machine has this set, each worker of the tests would compile all of them again
export PYTHONDONTWRITEBYTECODE := ""

# show what there is
default:
    @just --list

# install everything, by hash, into .venv
setup:
    @test -x {{python}} || python3.12 -m venv .venv
    @test -x {{uv}} || .venv/bin/pip install --quiet uv
    @{{uv}} pip install --quiet --python {{python}} --no-deps --require-hashes -r requirements.lock
    @{{uv}} pip install --quiet --python {{python}} --no-deps --no-build-isolation --editable .

# run the whole gateway on this machine: Postgres, Valkey and, without Ollama, a small demo model
quickstart *arguments: setup
    @.venv/bin/neuronetz-gateway quickstart {{arguments}}

# serve with the settings of .env, one worker
dev: setup
    .venv/bin/neuronetz-gateway serve

# all tests with coverage, two at work, one that waits beside them; `just test -n 0 tests/unit` for some of them in one process
test *arguments: setup
    .venv/bin/pytest -n 3 --cov --cov-report=term {{arguments}}

# all tests, at the sizes of the full run too
test-full *arguments: setup
    .venv/bin/pytest -m "full or not full" {{arguments}}

# fuzz every target, guided by coverage: `just fuzz 120`, `just fuzz 600 bodies meters`
fuzz *arguments: setup
    {{python}} -m fuzz {{arguments}}

# every SDK against the gateway; writes docs/CONFORMANCE.md
conformance *arguments: setup
    .venv/bin/pytest --no-cov tests/conformance --write-conformance {{arguments}}

# docs/ERRORS.md, from the table of failures; docs/CONFIGURATION.md, from the settings
docs: setup
    {{python}} -m tests.support.errors_page
    {{python}} -m tests.support.configuration_page

# docs/images, the pages as they look in a browser
pictures: setup
    {{python}} -m tests.support.page_pictures

# everything that must hold before a change lands
check: lint typecheck security test

# style
lint: setup
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .

# types
typecheck: setup
    .venv/bin/mypy

# known weaknesses in our code and in what we install
security: setup
    .venv/bin/bandit --quiet --recursive --configfile pyproject.toml src
    scripts/audit

# dist/sbom.cdx.json: what we are made of, as CycloneDX, from the lock file
sbom *arguments: setup
    {{python}} scripts/sbom.py {{arguments}}

# bring the database of .env to this version
migrate: setup
    .venv/bin/neuronetz-gateway migrate

# measure: gateway beside Caddy, nginx and direct; `just bench --case small-64 --rounds 3` for one case
bench *arguments: setup
    {{python}} -m bench.run {{arguments}}

# resolve and lock all packages again: all there are, of those what production needs, what builds the wheel
lock:
    {{uv}} lock --upgrade
    {{uv}} export --quiet --no-header --format requirements.txt --no-emit-project --all-extras --all-groups > requirements.lock
    {{uv}} export --quiet --no-header --format requirements.txt --no-emit-project --no-default-groups > requirements-production.lock
    {{uv}} export --quiet --no-header --format requirements.txt --only-group build > requirements-build.lock
