#!/bin/sh
# test.sh - everything that a change must pass: form, unit tests, fifty thousand
# inputs for each fuzz target, and the integration tests on five versions of
# systemd.
set -eu
cd "$(dirname "$0")/.."
step() { echo "== $*"; }

step form
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "gofmt: $unformatted" >&2
	exit 1
fi
go vet ./...
GOARCH=arm64 go vet ./...
# What a server imports must build on the machine where it is written.
for system in darwin windows; do
	GOOS=$system go build ./activation ./notation ./notify ./pidfile
done
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

step unit tests
go test -race . ./activation ./handoff ./notation ./notify ./pidfile

step fuzz targets
for package in activation handoff notation notify pidfile; do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' "$package"/*_test.go); do
		# A number of inputs rather than a time, whose end may count as
		# a failure of the target before Go 1.27, golang/go#75804.
		if ! output=$(go test -run '^$' -fuzz "^$target\$" -fuzztime 50000x "./$package" 2>&1); then
			echo "$output" >&2
			exit 1
		fi
		echo "$package.$target"
	done
done

step integration tests
matrix=$(mktemp)
trap 'rm -f "$matrix"' EXIT
# One package at a time and never from the cache: they share two cores, and depend
# on more than Go knows of.
FLIPEXEC_MATRIX=$matrix go test -race -count=1 -p 1 -timeout 20m ./integration/...

step "what works on which systemd"
cat "$matrix"
