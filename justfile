# Recipes for daily work. They use .venv, which `just setup` makes.

export PATH := justfile_directory() / ".venv/bin:" + env_var("PATH")

# What the benches measure: "compiled", as images and wheels are, or "pure" (`just form=pure bench get`).
form := "compiled"
_there := if form == "pure" { "" } else { 'cd build/compiled && PYTHONPATH="$PWD" ' }

_list:
    @just --list --unsorted

# make .venv and install the project with its tests and checks
setup:
    scripts/setup.sh dev

# format the code
fmt:
    ruff check --fix --select I --quiet
    ruff format
    cargo fmt --manifest-path filters_rust/Cargo.toml --all || echo "no cargo: Rust left as it is"

# check style, types, layers, generated pages, and the shipped Wasm module against its sources
lint:
    ruff check
    mypy
    mypy scripts/wasm_record.py scripts/import_contracts.py scripts/api_additions.py
    lint-imports --no-cache
    python scripts/wasm_record.py check
    python -m sidecar.config.supported_page --check

# compile the modules of the exchange with mypyc into build/compiled (needs a C compiler and Python's headers)
compile:
    python scripts/compile_modules.py

# what the benches run in is there
_form:
    @{{ if form == "pure" { "true" } else { "python scripts/compile_modules.py" } }}

# run something on the compiled form: `just compiled python -m tests.bench get`
compiled +command: compile
    cd build/compiled && PYTHONPATH="$PWD" {{ command }}

# run all tests
test *arguments:
    python -m pytest -n 2 --dist loadgroup {{ arguments }}

# run the tests whose names match, showing their output
test-one name *arguments:
    python -m pytest -s -k {{ quote(name) }} {{ arguments }}

# run the same scenarios on this proxy and on Envoy, and compare; all, or of a subject (connections, filters, upstream)
conformance subject="" *arguments:
    python -m pytest -n 2 --dist loadgroup tests/conformance {{ if subject =~ '^[a-z]' { "--subject " + subject } else { subject } }} {{ arguments }}

# put h2spec to this proxy with either codec of HTTP/2, and to Envoy to compare (needs Go)
h2spec:
    python -m tests.h2spec

# measure this proxy beside Envoy, nginx, haproxy and an aiohttp proxy (--quick: one short round)
bench *arguments: _form
    {{ _there }}python -m tests.bench {{ arguments }}

# measure the whole table beside Envoy, nginx, haproxy, aiohttp and mitmproxy and write it into docs/performance.md (--quick: some minutes)
bench-all *arguments: _form
    {{ _there }}python -m tests.bench.everything {{ arguments }}

# measure by connections, routes, clusters and workers, beside Envoy, and draw the curves (--quick: their ends)
bench-scale *arguments: _form
    {{ _there }}python -m tests.bench.scale {{ arguments }}

# two million requests of every kind: does memory stay where it was? (--requests N, --max-seconds N)
soak *arguments: _form
    {{ _there }}python -m tests.bench.soak {{ arguments }}

# measure what choosing a host costs, and a change of one host among many
bench-lb *arguments: _form
    {{ _there }}python -m tests.bench.lb {{ arguments }}

# measure what a TCP proxy moves per CPU second, beside Envoy
bench-tcp *arguments: _form
    {{ _there }}python -m tests.bench.tcp {{ arguments }}

# measure what a datagram costs a UDP proxy, beside Envoy
bench-udp *arguments: _form
    {{ _there }}python -m tests.bench.udp {{ arguments }}

# measure what each HTTP filter adds to a request, beside Envoy (--only NAME, --rounds N, --seconds N)
bench-filters *arguments: _form
    {{ _there }}python -m tests.bench.filters {{ arguments }}

# measure what logs, statistics, tracing and a scrape of 10,000 clusters cost, beside Envoy
bench-observe *arguments: _form
    {{ _there }}python -m tests.bench.observe {{ arguments }}

# measure what a request costs by the number of routes, beside Envoy
bench-routes *arguments: _form
    {{ _there }}python -m tests.bench.routes {{ arguments }}

# restart a proxy hot under load and count what is lost (--restarts N, --concurrency 1,2 by turns)
restart-check *arguments:
    python -m tests.restart_check {{ arguments }}

# renew a pair of proxies by SIGTERM, one after the other, under load and count what is lost (--ends N, --concurrency N)
drain-check *arguments:
    python -m tests.restart_check.drain {{ arguments }}

# kill -9 a random worker every two seconds under load: do only its own connections fail? (--seconds N, --concurrency N)
kill-check *arguments:
    python -m tests.restart_check.kill {{ arguments }}

# let a control plane on go-control-plane drive this proxy and Envoy through random snapshots (needs Go; --snapshots N, --updates N, --seed N)
xds-e2e *arguments:
    python -m tests.xds_e2e {{ arguments }}

# let endpoints of 20 sidecars come and go 50 times a second under load for five minutes (needs Go; --sidecars N, --rate N, --seconds N)
xds-mesh *arguments:
    python -m tests.xds_e2e.mesh {{ arguments }}

# measure the time from a control plane's response to serving by it, beside Envoy (needs Go; --rounds N, --only NAME, --scale X)
bench-xds *arguments: _form
    {{ _there }}python -m tests.bench.xds {{ arguments }}

# put limits to the rate limit service of Envoy's project, through this proxy and Envoy (needs Go)
ratelimit-e2e:
    python -m tests.ratelimit_e2e

# put requests to OPA with its plugin for Envoy, through this proxy and Envoy (needs Go)
opa-e2e:
    python -m tests.opa_e2e

# run pods in miniature, a network namespace each, with interception and mutual TLS between them (needs root)
pod-test *arguments:
    python -m pytest tests/integration/test_pod.py tests/integration/test_iptables.py {{ arguments }}

# can the proxy be installed on arm64 from wheels alone? (needs the network)
arm64-wheels:
    python scripts/arm64_wheels.py

# let three upstreams fail on a schedule under load, through this proxy and Envoy (--seconds N, default 300)
chaos *arguments:
    python -m tests.chaos {{ arguments }}

# measure Lua scripts beside Envoy's: a header edit each way, a body edit, the memory of 1,000 routes
bench-lua *arguments: _form
    {{ _there }}python -m tests.bench.lua {{ arguments }}

# measure how long the admission webhook takes (--reviews N)
bench-webhook *arguments:
    python -m tests.bench.webhook {{ arguments }}

# measure Wasm guests beside Envoy's V8: requests, instances, memory after updates (--only NAME, --updates N)
bench-wasm *arguments: _form
    {{ _there }}python -m tests.bench.wasm {{ arguments }}

# scan versions, suites, groups, certificates, OCSP and resumption of our TLS listeners and Envoy's, from one file (--all prints all)
tls-check *arguments:
    python -m tests.tls_check {{ arguments }}

# throw mutated input at the parsers (h1, h2, client_hello, proxy_protocol, http_inspector, wasm_module, wasm_pairs, wasm_calls; --seconds N, --seed N, --inputs N)
fuzz *arguments:
    python -m tests.fuzz {{ arguments }}

# send the smuggling corpus through sidecar (both codecs), Envoy, nginx and haproxy; writes docs/smuggling.md
smuggling *arguments:
    python -m tests.smuggling {{ arguments }}

# build the filters in Rust for both targets (--install, --ship: see scripts/build_wasm.sh)
wasm *arguments:
    scripts/build_wasm.sh {{ arguments }}

# let the conformance guest call every host function, here and in Envoy, and compare its transcripts line by line
wasm-abi *arguments:
    python -m pytest -n 2 --dist loadgroup tests/conformance -k wasm_guest {{ arguments }}
    python -m pytest -q tests/integration/test_wasm_languages.py
    python -m tests.conformance.wasm_abi_page

# show the filters at work
demo *arguments:
    sidecar demo {{ arguments }}

# write the generated tables of docs/
docs *arguments:
    python -m sidecar.config.supported_page {{ arguments }}

# what a merge needs
ci:
    .ci/run
