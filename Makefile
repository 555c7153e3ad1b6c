# What people and CI type. `make` alone says what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Where `cargo install` puts programs, which may not be on the PATH.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# What the tests need beside Rust, and what CI needs besides: a program of each package, and the package.
TEST_NEEDS := /usr/lib/rabbitmq/bin/rabbitmq-server=rabbitmq-server /usr/bin/redis-server=redis-server \
	/usr/bin/promtool=prometheus
CI_NEEDS := /usr/bin/docker-compose=docker-compose

.PHONY: help deps deps-ci fmt docs lint test readings bench compose check demo

help: ## Says what there is
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

deps: ## Installs what the tests need: RabbitMQ, Redis, Valkey, promtool, peers from PyPI and npm; starts nothing
	@.ci/install $(TEST_NEEDS)
	@.ci/valkey
	@.ci/peers

deps-ci: deps ## The same, and docker-compose
	@.ci/install $(CI_NEEDS)

fmt: ## Formats the code
	cargo fmt

docs: ## Writes what is generated under docs/: schemas, and the reference of settings
	COURIER_WRITE_DOCS=1 cargo test --locked --test it -- documents::generated

lint: ## Checks form, clippy, documentation, and what comes into the tree
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps --document-private-items
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny --locked check bans licenses sources

test: deps ## Runs all tests, against a RabbitMQ and a Redis of their own
	cargo test --locked

readings: ## Shows that each weaker reading of the promise breaks a test
	@tests/readings/check.sh

bench: deps ## Measures the courier beside a bare loop, on a RabbitMQ of its own
	cargo bench --locked --bench throughput

compose: deps-ci ## Checks docker-compose.yml
	docker-compose --profile redis config -q

check: lint test readings ## Does all of it: before a change goes out

demo: ## The whole product in one process, with an outage in the middle
	cargo run --release --locked -- demo
