# Greenroom's commands. `make` alone explains them.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run test test-fast bench lint doc check clean

# Extra words for the server: make run ARGS="--port 9000"
ARGS ?=
# Extra words for the test programs: make test TESTS="--test chat -- abort"
TESTS ?=
# One table of the benches: make bench BENCH=memory
BENCH ?=
# CI sets --locked, so that a forgotten Cargo.lock is noticed.
LOCKED ?=

target := $(or $(CARGO_TARGET_DIR),target)
# Benches that are a folder each print tables with ratios and budgets; those that are one file are criterion's.
rigs := $(notdir $(patsubst %/main.rs,%,$(wildcard benches/*/main.rs)))
criterion := $(basename $(notdir $(wildcard benches/*.rs actors/*/benches/*.rs)))
# A shell that was not opened anew since rustup ran does not know cargo yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what running needs (PostgreSQL with pgvector and the embedding model, into .local/)
	@bash scripts/setup.sh

run: setup ## set up, build and start the server (ARGS="--port 9000 --verbose")
	cargo run --release $(LOCKED) -- serve $(ARGS)

test: ## set up and run all tests on one throwaway database cluster (TESTS="..." for cargo test)
	@bash scripts/setup.sh --tests
	cargo test --workspace $(LOCKED) --no-run
	$(target)/debug/examples/test-cluster cargo test --workspace $(LOCKED) $(TESTS)

test-fast: setup ## run the unit and actor tests alone
	cargo test --workspace $(LOCKED) --lib

bench: setup ## measure: tables with ratios and budgets (BENCH="memory" for one of them), then the criterion benches
	cargo bench $(LOCKED) --no-run $(addprefix --bench ,$(or $(BENCH),$(rigs)))
	for rig in $(or $(BENCH),$(rigs)); do cargo bench $(LOCKED) --bench $$rig || missed=1; done; exit $${missed:-0}
	$(if $(BENCH),,cargo bench --workspace $(LOCKED) $(addprefix --bench ,$(criterion)))

lint: ## check format and lints
	cargo fmt --all --check
	cargo clippy --workspace $(LOCKED) --all-targets -- -D warnings

doc: ## build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace $(LOCKED) --no-deps

check: lint doc test ## everything CI checks

clean: ## remove builds and installed tools, never data
	cargo clean
	rm -rf .local
