//go:build linux

// Demo shows reloads of a server behind flipexec, under load: in the foreground, for
// which nothing is needed, or with -systemd under a private systemd, which needs root.
// It leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/flipexec/flipexec/integration/load"
)

const (
	reloads = 20
	pace    = 400 * time.Millisecond // from reload to reload
	rate    = 500                    // requests a second, of each kind of load
	kept    = 200                    // connections
)

func main() {
	systemd := flag.Bool("systemd", false, "under a private systemd")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *systemd); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run makes everything, and removes it.
func run(ctx context.Context, systemd bool) (err error) {
	dir, err := os.MkdirTemp("", "flipexec-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := build(ctx, dir); err != nil {
		return err
	}
	var m manager = &terminal{dir: dir}
	if systemd {
		m = &private{programs: dir}
	}
	defer func() { err = errors.Join(err, m.close()) }()
	d := &demo{manager: m}
	for _, step := range []func(context.Context) error{d.start, d.reload, d.fail, d.stop} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// build makes flipexec and the server.
func build(ctx context.Context, dir string) error {
	for _, cmd := range []*exec.Cmd{
		exec.CommandContext(ctx, "make", "--silent", "flipexec", "BINARY="+filepath.Join(dir, "flipexec")),
		exec.CommandContext(ctx, "go", "build", "-o", dir, "./integration/servers/gohttp"),
	} {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
	}
	return nil
}

// A manager is what flipexec runs under. Its methods are what a person would type.
type manager interface {
	start() error // and returns once the server is ready
	reload() error
	failingReload() (reason string, err error) // to a server that exits with status 3
	stop() (outcome string, err error)
	close() error // ends whatever is left

	about() string // "systemd 252"
	verb() string  // in front of start and reload
	mainPID() string
	address() string
	dial(ctx context.Context, network, address string) (net.Conn, error)
}

// A demo is what is shown, in the order of its methods.
type demo struct {
	manager     manager
	generations int // so many servers have been current
	fresh, kept *load.Generator
}

// start is the first line of the table.
func (d *demo) start(ctx context.Context) error {
	begin := time.Now()
	if err := d.manager.start(); err != nil {
		return err
	}
	took := time.Since(begin)
	fmt.Printf("%s, %d new connections/s, and %d requests/s on %d kept connections\n\n", d.manager.about(), rate, rate, kept)
	fmt.Printf("%-16s %10s %10s   %s\n", "", "took", "main PID", "who answers")
	return d.show(ctx, "start", took)
}

// reload reloads again and again, under load.
func (d *demo) reload(ctx context.Context) error {
	d.startLoad()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range reloads {
		select {
		case <-ctx.Done():
			d.stopLoad()
			return context.Cause(ctx)
		case <-tick.C:
		}
		d.mark()
		begin := time.Now()
		err := d.manager.reload()
		took := time.Since(begin)
		if err == nil {
			err = d.show(ctx, "reload", took)
		}
		d.endMark()
		if err != nil {
			d.stopLoad()
			return err
		}
	}
	fresh, kept := d.stopLoad()
	fmt.Printf("\n%-16s %10s %8s %8s %24s %22s\n", "", "requests", "retried", "failed", "p50, p99 in handoffs", "otherwise")
	return errors.Join(row("new connections", fresh), row("kept connections", kept))
}

// fail is a reload to a server that does not start, under load.
func (d *demo) fail(ctx context.Context) error {
	d.startLoad()
	reason, err := d.manager.failingReload()
	if err != nil {
		d.stopLoad()
		return err
	}
	answered, err := d.generation(ctx)
	fresh, kept := d.stopLoad()
	if err != nil {
		return err
	}
	fmt.Printf("\nThe next server is broken, and %s reload fails:\n  %s\n", d.manager.verb(), reason)
	fmt.Printf("Main PID %s, and generation %s answers: %d requests meanwhile, %d failed\n", d.manager.mainPID(), answered,
		fresh.OK+kept.OK, fresh.Failures()+kept.Failures())
	if want := fmt.Sprint(d.generations); answered != want {
		return fmt.Errorf("generation %s answers, want %s", answered, want)
	}
	return errors.Join(check(fresh), check(kept))
}

func (d *demo) stop(context.Context) error {
	outcome, err := d.manager.stop()
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\n", outcome)
	return nil
}
