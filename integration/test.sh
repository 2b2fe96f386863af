#!/bin/sh
# test.sh - everything that a change must pass: form, unit tests, fuzz targets for
# a few seconds each, and the integration tests on five versions of systemd.
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
	GOOS=$system go build ./activation ./notify ./pidfile
done
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

step unit tests
go test -race . ./activation ./handoff ./notify ./pidfile

step fuzz targets
for package in activation handoff notify pidfile; do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' "$package"/*_test.go); do
		go test -run '^$' -fuzz "^$target\$" -fuzztime 5s "./$package" >/dev/null
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
