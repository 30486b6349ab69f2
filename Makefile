# make demo    a real Envoy, ussoauthz, two tenants and a tour of requests
# make test    every test: unit, race, Rego, fuzz seeds, end to end
# make help    the rest

GO      ?= go
BIN     := bin
TOOLS   := $(CURDIR)/.cache/tools
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)

GOSEC       := v2.30.0
GO_LICENSES := v1.6.0
CYCLONEDX   := v1.10.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
HELM        := v4.3.1
KUBECONFORM := v0.8.0
PROMTOOL    := v0.311.3
EGCTL       := v1.9.1
ISTIOCTL    := v0.0.0-20260827124520-eed52ebb66ad
GOVULNCHECK := v1.9.0

TIME     ?= 10s
SOAK     ?= 60s
HOLD     ?= 1s
CHAOS    ?= 5m
DECISIONS ?= 1000000

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# What ships: static, and the same bytes in whatever folder it is built, in a
# checkout or not. grpcnotrace leaves out pages that gRPC would draw by
# html/template, whose reflection makes the linker keep every method: 11 MiB.
.PHONY: build
build: ## build bin/ussoauthz and bin/ussodev, for this system or GOOS= GOARCH=
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags grpcnotrace \
	  -ldflags "-s -w -X $(BUILDINFO).version=$(VERSION) -X $(BUILDINFO).revision=$(REVISION)" -o $(BIN)/ ./cmd/...
BUILDINFO := github.com/ussoio/ussoauthz/internal/buildinfo

.PHONY: demo
demo: build ## a tour of requests through a real Envoy; ONCE=1 ends after it
	$(BIN)/ussodev demo --ussoauthz $(BIN)/ussoauthz $(if $(ONCE),--once)

.PHONY: test
test: unit e2e ## every test; needs python3 and a network, for Envoy

.PHONY: redis
redis:
	@command -v redis-server >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server; } >&2 || \
	  { echo "the tests of revocation need a redis-server on the PATH: install one" >&2; exit 1; }

.PHONY: unit
unit: redis ## units, Rego, attack vectors and fuzz seeds, with the race detector
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /test/)
	$(GO) test -run Allocations ./pkg/policy ./pkg/extauthz # the race detector allocates
	$(GO) test -run 'TestFloods|TestHeld|TestLargeConfiguration' ./internal/service # too much for the race detector
	$(GO) test -run TestRedisIsBounded ./internal/revocation # a million entries, the same
	$(GO) test -run 'TestWorstCalls|TestProcessorAfter' ./pkg/policy # what they measure, the race detector makes tenfold
	$(GO) test ./pkg/policy/scopes # 110,000 questions, too many for the race detector

.PHONY: e2e
e2e: redis ## requests through a real Envoy, and the commands of the documents
	$(GO) test -count 1 -timeout 20m ./test/...

.PHONY: uncached
uncached: ## the same answers with every cache switched off
	@GO=$(GO) test/uncached.sh ./pkg/extauthz ./pkg/tenants ./internal/... ./cmd/... ./test/e2e

.PHONY: nginx
nginx:
	@command -v nginx >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light; } >&2 || \
	  { echo "the tests of path readings need an nginx on the PATH: install one" >&2; exit 1; }

.PHONY: interop
interop: nginx ## a real OpenID provider, the real USSO SDK, real parsers of bodies, real web servers; needs node and python3
	$(GO) test -count 1 -timeout 15m -tags interop ./test/interop/... ./test/servers

# Two minutes; once more for what Maven downloads.
.PHONY: servers
servers: ## Spring, Rails, Sinatra and PHP behind Envoy and the service; installs them as root
	@command -v mvn >/dev/null && command -v puma >/dev/null && command -v php >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    openjdk-17-jdk-headless maven ruby-sinatra ruby-railties puma php-cli; } >&2
	$(GO) vet -tags servers ./test/servers
	$(GO) test -count 1 -timeout 20m -tags servers ./test/servers

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >&2 || \
	  { echo "the test of the admin listener needs chromium on the PATH: install it" >&2; exit 1; }

.PHONY: browser
browser: chromium ## what a real browser can send to the admin listener
	$(GO) test -count 1 -timeout 5m -tags browser -run TestBrowser ./internal/service

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags interop ./test/interop/... ./test/servers
	$(GO) vet -tags browser ./internal/service
	@test -x $(TOOLS)/staticcheck || GOBIN=$(TOOLS) $(GO) install $(STATICCHECK)
	$(TOOLS)/staticcheck -tags interop ./...

.PHONY: gosec
gosec: $(TOOLS)/gosec-$(GOSEC) ## insecure patterns in what ships
	@# G304, a file by a variable name: all that it opens is named by its operator. internal/testkit is of tests alone.
	$(TOOLS)/gosec -quiet -exclude=G304 -exclude-dir=internal/testkit ./cmd/... ./internal/... ./pkg/...

$(TOOLS)/gosec-$(GOSEC):
	GOBIN=$(TOOLS) $(GO) install github.com/securego/gosec/v2/cmd/gosec@$(GOSEC) && touch $@

# Licences that may be in the binary of a program under Apache-2.0.
MAY_LINK := Apache-2.0,BSD-2-Clause,BSD-3-Clause,MIT,ISC,MPL-2.0
# As build has it. The log is left out: it warns of every file in assembly.
LICENCES := GOOS=linux GOARCH=amd64 CGO_ENABLED=0 GOFLAGS=-tags=grpcnotrace $(TOOLS)/go-licenses
LICENCES_OF := ./cmd/ussoauthz --ignore github.com/ussoio/ussoauthz --logtostderr=false --log_file=/dev/null --stderrthreshold=2

.PHONY: licences
licences: $(TOOLS)/go-licenses-$(GO_LICENSES) ## refuse licences that don't fit; docs/dependencies.md anew
	$(LICENCES) check $(LICENCES_OF) --allowed_licenses=$(MAY_LINK)
	$(LICENCES) report $(LICENCES_OF) --template test/binary/dependencies.tmpl >docs/dependencies.new
	mv docs/dependencies.new docs/dependencies.md

$(TOOLS)/go-licenses-$(GO_LICENSES):
	GOBIN=$(TOOLS) $(GO) install github.com/google/go-licenses@$(GO_LICENSES) && touch $@

.PHONY: sbom
sbom: build $(TOOLS)/cyclonedx-gomod-$(CYCLONEDX) ## bin/ussoauthz.cdx.json: what the binary is made of, in CycloneDX
	GOPROXY=off $(TOOLS)/cyclonedx-gomod bin -json -licenses -version $(VERSION) -output $(BIN)/ussoauthz.cdx.json $(BIN)/ussoauthz

$(TOOLS)/cyclonedx-gomod-$(CYCLONEDX):
	GOBIN=$(TOOLS) $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX) && touch $@

# What the licences ask to be handed on with a binary: their texts, and notices.
.PHONY: notices
notices: ## bin/NOTICES: the licence texts of all that is linked, for the image
	@mkdir -p $(BIN)
	@set -e; modules=$$(CGO_ENABLED=0 $(GO) list -deps -tags grpcnotrace -f '$(MODULE)' ./cmd/...); \
	{ printf '==== Go\n\n'; cat "$$($(GO) env GOROOT)/LICENSE"; \
	  printf '%s\n' "$$modules" | sort -u | while read -r module version dir; do \
	    find "$$dir" -type f $(TEXTS) | sort | while read -r file; do \
	      printf '\n==== %s %s %s\n\n' "$$module" "$$version" "$${file#$$dir/}"; cat "$$file"; \
	    done; \
	  done; } >$(BIN)/NOTICES
MODULE := {{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}
TEXTS  := '(' -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'patents*' ')' ! -name '*.go' ! -path '*/testdata/*' ! -path '*/.*'

.PHONY: reproducible
reproducible: ## the last commit built twice, in two folders, once with nothing in Go's cache: the same bytes
	@test/binary/reproducible.sh $(VERSION) $(REVISION)

.PHONY: deploy-tools
deploy-tools: $(TOOLS)/helm-$(HELM) $(TOOLS)/kubeconform-$(KUBECONFORM) $(TOOLS)/promtool-$(PROMTOOL)

# Built once for each version: they are large.
$(TOOLS)/helm-$(HELM):
	@echo "building helm $(HELM), which takes some minutes"
	GOBIN=$(TOOLS) $(GO) install helm.sh/helm/v4/cmd/helm@$(HELM) && touch $@
$(TOOLS)/kubeconform-$(KUBECONFORM):
	GOBIN=$(TOOLS) $(GO) install github.com/yannh/kubeconform/cmd/kubeconform@$(KUBECONFORM) && touch $@
# Its module has replace directives, which `go install` refuses: it is built where it lies.
$(TOOLS)/promtool-$(PROMTOOL):
	@echo "building promtool $(PROMTOOL), which takes some minutes"
	dir=$$($(GO) mod download -json github.com/prometheus/prometheus@$(PROMTOOL) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	  cd "$$dir" && GOWORK=off $(GO) build -tags remove_all_sd -o $(TOOLS)/promtool ./cmd/promtool && touch $@

.PHONY: deploy-check
deploy-check: deploy-tools ## the Helm chart and the manifests, by the tools of operators
	$(GO) vet -tags deploy ./test/deploy
	$(GO) test -count 1 -timeout 20m -tags deploy ./test/deploy

# Envoy Gateway's and Istio's own, built once for each version.
$(TOOLS)/egctl-$(EGCTL):
	@echo "building egctl $(EGCTL), which takes ten minutes"
	GOBIN=$(TOOLS) $(GO) install -p 1 github.com/envoyproxy/gateway/cmd/egctl@$(EGCTL) && touch $@
$(TOOLS)/istioctl-$(ISTIOCTL):
	@echo "building istioctl $(ISTIOCTL), which takes ten minutes"
	GOBIN=$(TOOLS) $(GO) install -p 1 istio.io/istio/istioctl/cmd/istioctl@$(ISTIOCTL) && touch $@

# What istiod would send to a proxy: its own code around a small program.
$(TOOLS)/istiod-$(ISTIOCTL): test/mesh/testdata/istiod/main.go.txt
	@echo "building istiod's translation $(ISTIOCTL), which takes ten minutes"
	dir=$$(mktemp -d) && trap "rm -rf $$dir" EXIT && cp $< $$dir/main.go && cd $$dir && GOWORK=off $(GO) mod init istiod && \
	  GOWORK=off $(GO) mod edit -require=istio.io/istio@$(ISTIOCTL) && \
	  GOWORK=off $(GO) build -mod=mod -p 1 -o $(TOOLS)/istiod . && touch $@

.PHONY: mesh-check
mesh-check: $(TOOLS)/egctl-$(EGCTL) $(TOOLS)/istioctl-$(ISTIOCTL) $(TOOLS)/istiod-$(ISTIOCTL) ## the manifests by egctl and istioctl; UPDATE=1 renews what they say
	$(GO) vet -tags mesh ./test/mesh
	$(GO) test -count 1 -timeout 10m -tags mesh ./test/mesh $(if $(UPDATE),-update)

.PHONY: compose-e2e
compose-e2e: build notices ## docker-compose.yaml for real; starts a Docker engine as root where none answers
	@command -v docker >/dev/null && { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; } && \
	  { docker version >/dev/null 2>&1 || command -v dockerd >/dev/null; } && command -v redis-server >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker.io docker-compose redis-server; }
	$(GO) vet -tags compose ./test/compose
	$(GO) test -count 1 -timeout 20m -tags compose ./test/compose

# The database is a host of its own, or a mirror of it: VULNDB=file:///mirror
VULNDB ?= https://vuln.go.dev

.PHONY: vuln
vuln: $(TOOLS)/govulncheck-$(GOVULNCHECK) ## known vulnerabilities in what is called; asks https://vuln.go.dev, or VULNDB=
	$(TOOLS)/govulncheck -db $(VULNDB) -tags grpcnotrace ./...

$(TOOLS)/govulncheck-$(GOVULNCHECK):
	GOBIN=$(TOOLS) $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK) && touch $@

.PHONY: fuzz
fuzz: ## run every fuzz target for TIME each
	@GO=$(GO) test/fuzz/run.sh $(TIME)

# Of pkg/jwtverify/jwks only the files that decide which keys are valid: fetching has
# tests of its own.
MUTATE ?= ./pkg/tenants ./pkg/extauthz ./pkg/policy \
  ./pkg/jwtverify:verifier.go,header.go,claims.go,claimset.go,key.go,keyset.go,jwx.go,algorithm.go \
  ./pkg/jwtverify/jwks:schedule.go,snapshot.go,store.go

.PHONY: mutation
mutation: ## checks switched off one at a time: a test must notice; MUTATE=package[:file,file] ONLY=regexp
	$(GO) run ./test/mutation -only '$(ONLY)' $(MUTATE)

SWEEP ?= *
CALLS ?= 0

.PHONY: sweep
sweep: ## every builtin with hostile arguments; the table that the engine reads, anew. SWEEP=pattern CALLS=number of each KEEP=1
	$(GO) test -count 1 -timeout 8h -v -run 'TestSweep$$' ./pkg/policy -sweep '$(SWEEP)' -calls $(CALLS) $(if $(KEEP),-keep)

.PHONY: soak
soak: ## SOAK (60s) of reloads under steady checks, every other one broken
	USSOAUTHZ_SOAK=$(SOAK) $(GO) test -count 1 -timeout 20m -run 'TestReloadSoak|TestReloadDuringSwaps' -v ./internal/service

.PHONY: hold
hold: ## HOLD (1s) of each hostile input beside honest requests, for each example policy
	USSOAUTHZ_HOLD=$(HOLD) $(GO) test -count 1 -timeout 2h -run 'TestHold$$' -v ./internal/service

.PHONY: chaos
chaos: ## CHAOS (5m) of failing issuers, files, replicas and Envoy, every answer judged
	USSOAUTHZ_CHAOS=$(CHAOS) $(GO) test -count 1 -timeout 2h -run 'TestChaos$$' -v ./test/e2e

.PHONY: metamorphic
metamorphic: ## TIME (10s) of random configurations and hostile requests, each answer as specified; SEED= repeats one
	METAMORPHIC_TIME=$(TIME) METAMORPHIC_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run Specification ./test/metamorphic

ROUNDS  ?= 5
SECONDS ?= 0.5
ONLY    ?=
PROFILE ?=

.PHONY: soak-decisions
soak-decisions: ## DECISIONS (1000000) evaluations with and without the decision cache
	SOAK_DECISIONS=$(DECISIONS) $(GO) test -count 1 -timeout 60m -v -run TestCachedIsUncached ./pkg/policy

.PHONY: bench
bench: build ## load beside a floor and through Envoy; ROUNDS= SECONDS= ONLY=regexp PROFILE=dir DOCS=1
	$(GO) build -o $(BIN)/bench-floor ./test/bench/floor
	$(GO) run ./test/bench -rounds $(ROUNDS) -seconds $(SECONDS) -only '$(ONLY)' -profile '$(PROFILE)' \
	  -json $(BIN)/bench.json -chart $(if $(DOCS),docs/performance.svg -page docs/performance.md,$(BIN)/bench.svg)

.PHONY: bench-go
bench-go: ## the Go benchmarks of each stage, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./...

REPLICAS ?= 300
ISSUERS  ?= 5000
TTL      ?= 1h

.PHONY: fleet
fleet: ## what REPLICAS (300) with ISSUERS (5000) and a TTL (1h) ask of issuers
	@table=$$(USSOAUTHZ_FLEET="$(REPLICAS) $(ISSUERS) $(TTL)" $(GO) test -count 1 -v -run 'TestFleet$$' ./pkg/jwtverify/jwks) || { echo "$$table"; exit 1; }; \
	  echo "$$table" | grep -v '^[-=]* *\(RUN\|PASS\|---\|ok\)'

.PHONY: docs
docs: ## the documentation as a site, at http://127.0.0.1:8000; needs python3 and npm
	@test/docs/site/run.sh serve

.PHONY: docs-check
docs-check: ## the site alone, in .cache/site: a broken link or any warning fails
	@test/docs/site/run.sh build

.PHONY: schema
schema: ## config.schema.json anew, from the types of the configuration
	$(GO) test ./internal/config -run TestSchemaIsFresh -update
