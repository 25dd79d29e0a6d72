# Muster's make targets. Each installs what it needs first (as root, or with sudo) and says so.

SWIFT ?= swift
RELEASE := -c release --static-swift-stdlib
DEMO_OPTIONS ?=
# The benchmark's C program is no target of the package, which would link Swift's library into it.
CC := clang

.PHONY: help demo muster completions test unit sanitize integration storm fuzz bench lint format dashboards docs shape api \
    bench-peers bench-curves setup clean

help: ## Show this text.
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the system packages that building needs.
	@scripts/install-packages build

demo: setup ## Build the demo service as a release and run it, with its endpoint.
	$(SWIFT) build $(RELEASE) --product muster-demo
	exec .build/release/muster-demo $(DEMO_OPTIONS)

muster: ## Build the command line: .build/release/muster.
	@scripts/install-packages build cli
	$(SWIFT) build $(RELEASE) --product muster

completions: muster ## Write the command line's completions for bash, zsh and fish into .build/completions.
	@mkdir -p .build/completions
	.build/release/muster --generate-completion-script bash >.build/completions/muster
	.build/release/muster --generate-completion-script zsh >.build/completions/_muster
	.build/release/muster --generate-completion-script fish >.build/completions/muster.fish

test: ## Install what is missing and run every test, those against a real Prometheus included.
	@scripts/install-packages build cli test
	@SWIFT=$(SWIFT) scripts/test

sanitize: setup ## Run the tests under the thread and the address sanitizer.
	@SWIFT=$(SWIFT) scripts/test-sanitized thread
	@SWIFT=$(SWIFT) scripts/test-sanitized address

storm: ## Kill and replace workers under load for a minute each, and print the figures.
	@scripts/install-packages build test
	@SWIFT=$(SWIFT) scripts/storm

fuzz: setup ## Feed settings, arenas, vital signs and messages some ten million inputs.
	$(SWIFT) build --build-tests
	MUSTER_TEST_TIMES=$${MUSTER_TEST_TIMES:-150} $(SWIFT) test --skip-build --no-parallel \
	    --filter '/(fuzz|scribbles|scribblesUnderReader)\(' --skip MusterDocumentationTests

bench: ## Measure against references in the same run, and print the ratios.
	@scripts/install-packages build bench
	$(SWIFT) build $(RELEASE) --traits Hummingbird --product muster-bench
	$(SWIFT) build $(RELEASE) --traits Hummingbird --product muster-bench-hummingbird
	$(CC) -O2 -o .build/release/muster-bench-reference Sources/muster-bench-reference/main.c
	if command -v go >/dev/null; then go build -o .build/release/muster-bench-go Sources/muster-bench-reference/main.go; fi
	.build/release/muster-bench $(BENCH_OPTIONS)

bench-peers: ## Measure Muster beside oslo.service, gunicorn, prometheus_client, Go and others, in about 16 minutes.
	@scripts/install-packages build
	@# A peer that cannot be had is left out.
	-@scripts/install-packages peers-go
	-@scripts/install-packages peers-python
	$(SWIFT) build $(RELEASE) --product muster-peer
	scripts/peers/bench $(PEERS_OPTIONS)

bench-curves: ## Measure how cost grows with workers, loops, jobs, series and restarts, and draw it, in about 5 minutes.
	@scripts/install-packages build
	$(SWIFT) build $(RELEASE) --product muster-peer
	scripts/curves --plots docs/images --page docs/performance.md $(CURVES_OPTIONS)

lint: ## Check the form of the sources.
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests

format: ## Bring the sources into form.
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests

dashboards: ## Render the dashboards from their jsonnet.
	@scripts/install-packages dashboards
	jsonnet --multi dashboards dashboards/render.jsonnet

docs: setup ## Build the reference documentation into docs/.generated.
	@SWIFT=$(SWIFT) scripts/build-docs

shape: ## Print files, lines, public declarations and imports against floors; fail when a limit is exceeded.
	@MUSTER_WITHOUT_EXECUTABLES=1 $(SWIFT) build --traits Hummingbird
	@SWIFT=$(SWIFT) scripts/shape --check

api: ## Write the public interface of the built modules to docs/api/Muster.txt.
	@MUSTER_WITHOUT_EXECUTABLES=1 $(SWIFT) build --traits Hummingbird
	@SWIFT=$(SWIFT) scripts/shape --write

clean: ## Remove everything built.
	rm -rf .build .build-* docs/.generated .venv
