# Turnstone. Thin on purpose: each target is one line, what it does lies in hack/.

SHELL := /bin/bash
.DEFAULT_GOAL := help

##@ Build
.PHONY: build
build: ## Compile the broker, the operator and the kubectl plugin into bin/
	hack/build

.PHONY: images
images: build ## Make both container images in .build/images (REGISTRY=... pushes them there instead)
	hack/images $(REGISTRY)

.PHONY: generate
generate: ## Generate Go code (deep copies, protocol tables) and the conformance matrix of MQTT
	hack/generate code

.PHONY: manifests
manifests: ## Generate CRDs and RBAC, for config/ and for the chart, and docs/reference
	hack/generate manifests

##@ Check
.PHONY: fmt
fmt: ## Format the Go code
	gofmt -l -w $$(git ls-files '*.go')

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: lint
lint: vet ## gofmt, go vet, staticcheck, the chart
	hack/lint

##@ Test
.PHONY: test
test: ## Every test: lint, unit with -race, envtest, fuzz, end to end on a cluster of its own
	hack/test

.PHONY: test-unit
test-unit: ## Unit tests with -race
	hack/test unit

.PHONY: envtest
envtest: ## The operator against a real etcd and kube-apiserver
	hack/test envtest

.PHONY: fuzz
fuzz: ## Every fuzz target, FUZZTIME (10s) each
	hack/fuzz

.PHONY: e2e
e2e: ## End to end, on a local cluster of three nodes of its own (KEEP=1 leaves it up)
	hack/e2e

.PHONY: crash
crash: ## Kill the broker under load, an hour each for AMQP and MQTT, and look for what was lost
	go test -count=1 -timeout 140m ./test/crash -v -crash.for=1h -crash.kills=100000

.PHONY: bench
bench: ## Throughput and CPU per message, beside mosquitto and rabbitmq-server
	hack/bench

.PHONY: bench-operator
bench-operator: ## The operator over many objects and brokers; writes its section of docs/benchmarks.md
	hack/bench-operator -markdown docs/benchmarks.md

##@ Run
.PHONY: up
up: ## A Kubernetes with a broker that works (CLUSTER=current REGISTRY=... for your own)
	hack/up

.PHONY: down
down: ## Remove what "make up" made
	hack/down

.PHONY: clean
clean: ## Delete what was built here (the cache of compiled tools stays)
	rm -rf bin .build

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
