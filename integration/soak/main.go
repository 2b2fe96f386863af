//go:build linux

// Soak makes handoffs, one after the other and for a long time, and does to about
// half of them what a handoff must survive: a process is killed or stopped at one
// of its steps, the new server fails, reloads come in storms. Load runs all the
// while, and what must hold after every handoff is checked after every handoff.
//
// What happens follows from the seed, which is printed: the same seed does the same
// again, and -from enters the sequence at a later handoff. It needs root, is run
// from the root of the source, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c config
	flag.Uint64Var(&c.seed, "seed", rand.Uint64N(1e9), "of the sequence of faults")
	flag.Uint64Var(&c.from, "from", 1, "number of the first handoff")
	flag.Uint64Var(&c.handoffs, "handoffs", 1000, "at least so many")
	flag.DurationVar(&c.least, "least", 30*time.Minute, "at least so long, over which the handoffs are spread")
	flag.StringVar(&c.root, "root", "host", "whose systemd: the host's or a suite's")
	flag.Parse()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// config is the command line.
type config struct {
	seed, from, handoffs uint64
	least                time.Duration
	root                 string
}

// run makes everything, and removes it.
func run(ctx context.Context, c config) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("not root, which a private systemd needs; hint: sudo make soak")
	}
	if flag.NArg() > 0 || c.handoffs == 0 || c.from == 0 {
		return errors.New("usage: options only, and at least one handoff; see -help")
	}
	steps, err := findSteps("handoff")
	if err != nil {
		return err
	}
	programs, err := os.MkdirTemp("", "flipexec-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	if err := build(ctx, programs); err != nil {
		return err
	}
	r, err := rig.Start(rig.Config{Root: c.root, Bind: []string{programs + ":/opt/flipexec"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	s := &soak{config: c, rig: r, steps: steps, ownKills: map[int]bool{}, report: newReport()}
	return s.run(ctx)
}

// build makes flipexec with its steps, and the server.
func build(ctx context.Context, dir string) error {
	for _, cmd := range []*exec.Cmd{
		exec.CommandContext(ctx, "make", "--silent", "flipexec", "BINARY="+filepath.Join(dir, "flipexec"), "TAGS=urfave_cli_no_docs,faults"),
		exec.CommandContext(ctx, "go", "build", "-o", dir, "./integration/servers/gohttp"),
	} {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
	}
	return nil
}

// unit has short timeouts, of which the launcher's is the first to pass, and a unix
// socket whose path has to stay.
const unit = `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=exec
ExecStart=/opt/flipexec/flipexec --listen http=tcp::80 --listen path=unix:/run/web/web.sock --pid-file=/run/web/web.pid --ready-timeout=3s --drain-timeout=5s -- /opt/flipexec/gohttp
ExecReload=/opt/flipexec/flipexec reload
RuntimeDirectory=web
Restart=on-failure
RestartSec=50ms
TimeoutStartSec=10s
TimeoutStopSec=10s
[Install]
WantedBy=multi-user.target
`

// faults is where flipexec looks for the steps at which to stop.
const faults = "/run/flipexec-faults"
