//go:build linux

// Demo shows reloads of a server behind flipexec, under load and under a private
// systemd. It needs root, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flipexec/flipexec/integration/load"
	"github.com/flipexec/flipexec/integration/rig"
)

const (
	reloads = 20
	pace    = 400 * time.Millisecond // from reload to reload
	rate    = 500                    // requests a second, of each kind of load
	kept    = 200                    // connections
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run makes everything, and removes it.
func run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("not root, which a private systemd needs; hint: sudo make demo")
	}
	programs, err := os.MkdirTemp("", "flipexec-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	if err := build(ctx, programs); err != nil {
		return err
	}
	r, err := rig.Start(rig.Config{Bind: []string{programs + ":/opt/flipexec"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	d := &demo{rig: r}
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

// unit is the README's, with the paths of here.
const unit = `[Unit]
Description=Web server

[Service]
Type=notify
NotifyAccess=exec
ExecStart=/opt/flipexec/flipexec --listen http=tcp::80 -- /opt/flipexec/gohttp
ExecReload=/opt/flipexec/flipexec reload
RuntimeDirectory=web
Restart=on-failure

[Install]
WantedBy=multi-user.target
`

// broken makes the next server exit with status 3.
const broken = "[Service]\nEnvironment=GOHTTP_FAIL=3\n"

// A demo is what is shown, in the order of its methods.
type demo struct {
	rig         *rig.Rig
	generations int // so many servers have been current
	fresh, kept *load.Generator
}

// start is systemctl start, and the first line of the table.
func (d *demo) start(ctx context.Context) error {
	version, err := d.rig.Version()
	if err != nil {
		return err
	}
	if err := d.rig.WriteUnit("web.service", unit); err != nil {
		return err
	}
	if _, err := d.rig.Systemctl("enable", "--quiet", "web"); err != nil {
		return err
	}
	fmt.Printf("systemd %d, %d new connections/s, and %d requests/s on %d kept connections\n\n", version, rate, rate, kept)
	fmt.Printf("%-16s %10s %10s   %s\n", "", "took", "main PID", "who answers")
	return d.replace(ctx, "start")
}

// reload is systemctl reload, again and again, under load.
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
		err := d.replace(ctx, "reload")
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
	if err := d.rig.WriteUnit("web.service.d/broken.conf", broken); err != nil {
		return err
	}
	if _, err := d.rig.Systemctl("daemon-reload"); err != nil {
		return err
	}
	d.startLoad()
	_, err := d.rig.Systemctl("reload", "web")
	before, answered, askErr := d.generation(ctx)
	fresh, kept := d.stopLoad()
	if err == nil {
		return errors.New("systemctl reload of a broken server: got success")
	}
	if askErr != nil {
		return askErr
	}
	fmt.Printf("\nThe next server is broken: systemctl reload fails. The journal says:\n  %s\n", reason(d.rig.Journal("web.service")))
	fmt.Printf("Main PID %d, and generation %s answers: %d requests meanwhile, %d failed\n", before, answered,
		fresh.OK+kept.OK, fresh.Failures()+kept.Failures())
	if want := fmt.Sprint(d.generations); answered != want {
		return fmt.Errorf("generation %s answers, want %s", answered, want)
	}
	return errors.Join(check(fresh), check(kept))
}

// reason is the last line in which a launcher says why it failed.
func reason(journal string) string {
	last := "(nothing)"
	for line := range strings.Lines(journal) {
		if strings.HasPrefix(line, "flipexec: reload: ") {
			last = strings.TrimSpace(line)
		}
	}
	return last
}

// stop is systemctl stop.
func (d *demo) stop(context.Context) error {
	if _, err := d.rig.Systemctl("stop", "web"); err != nil {
		return err
	}
	p := d.rig.Show("web.service", "Result", "ExecMainStatus")
	fmt.Printf("\nsystemctl stop: result %s, exit status %s\n", p["Result"], p["ExecMainStatus"])
	if p["Result"] != "success" {
		return fmt.Errorf("stop: result %s", p["Result"])
	}
	return nil
}
