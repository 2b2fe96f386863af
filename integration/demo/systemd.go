//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/flipexec/flipexec/integration/rig"
)

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

// private is a systemd of our own.
type private struct {
	programs string
	rig      *rig.Rig
	version  int
}

func (p *private) start() (err error) {
	if os.Geteuid() != 0 {
		return errors.New("not root, which a private systemd needs; hint: sudo make demo-systemd, or make demo")
	}
	if p.rig, err = rig.Start(rig.Config{Bind: []string{p.programs + ":/opt/flipexec"}}); err != nil {
		return err
	}
	if p.version, err = p.rig.Version(); err != nil {
		return err
	}
	if err := p.rig.WriteUnit("web.service", unit); err != nil {
		return err
	}
	if _, err := p.rig.Systemctl("enable", "--quiet", "web"); err != nil {
		return err
	}
	return p.systemctl("start")
}

func (p *private) systemctl(verb string) error {
	if _, err := p.rig.Systemctl(verb, "web"); err != nil {
		return fmt.Errorf("%w\n%s", err, p.rig.Journal("web.service"))
	}
	return nil
}

func (p *private) reload() error { return p.systemctl("reload") }

func (p *private) failingReload() (reason string, err error) {
	if err := p.rig.WriteUnit("web.service.d/broken.conf", broken); err != nil {
		return "", err
	}
	if _, err := p.rig.Systemctl("daemon-reload"); err != nil {
		return "", err
	}
	if _, err := p.rig.Systemctl("reload", "web"); err == nil {
		return "", errors.New("systemctl reload of a broken server: got success")
	}
	return lastReason(p.rig.Journal("web.service")), nil
}

// lastReason is the last line in which a launcher says why it failed.
func lastReason(journal string) string {
	last := "(nothing)"
	for line := range strings.Lines(journal) {
		if strings.HasPrefix(line, "flipexec: reload: ") {
			last = strings.TrimSpace(line)
		}
	}
	return last
}

func (p *private) stop() (outcome string, err error) {
	if err := p.systemctl("stop"); err != nil {
		return "", err
	}
	show := p.rig.Show("web.service", "Result", "ExecMainStatus")
	if show["Result"] != "success" {
		return "", fmt.Errorf("stop: result %s", show["Result"])
	}
	return fmt.Sprintf("systemctl stop: result %s, exit status %s", show["Result"], show["ExecMainStatus"]), nil
}

func (p *private) close() error {
	if p.rig == nil {
		return nil
	}
	return p.rig.Close()
}

func (p *private) about() string   { return fmt.Sprintf("systemd %d", p.version) }
func (p *private) verb() string    { return "systemctl" }
func (p *private) mainPID() string { return p.rig.Show("web.service", "MainPID")["MainPID"] }
func (p *private) address() string { return "127.0.0.1:80" }

func (p *private) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return p.rig.Dial(ctx, network, address)
}
