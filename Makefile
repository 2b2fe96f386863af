# flipexec is one static binary. The tag leaves out the part of the command line
# library that writes manuals, which every start would have to set up.
BINARY = flipexec
TAGS = urfave_cli_no_docs
GO_BUILD = CGO_ENABLED=0 go build -trimpath -tags $(TAGS)
VERSION =

.PHONY: all flipexec demo demo-systemd test deps bench soak clean

all: flipexec

flipexec:
	$(GO_BUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o $(BINARY) .

# A small server behind flipexec, under load, reloaded twenty times.
demo:
	go run ./integration/demo

# The same under a private systemd. Needs root, and installs systemd if it is missing.
demo-systemd:
	sh integration/deps.sh demo
	go run ./integration/demo -systemd

# Everything that CI runs.
test: deps
	sh integration/test.sh

# The Debian packages that tests and demo need.
deps:
	sh integration/deps.sh

bench: deps
	go test -run '^$$' -bench . ./integration

# A thousand handoffs, half of them with a fault, under load for half an hour.
# SOAK='-seed N' does what a printed seed did; go run ./integration/soak -help.
SOAK =
soak: deps
	go run ./integration/soak $(SOAK)

clean:
	rm -f $(BINARY)
