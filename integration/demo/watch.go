//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/integration/load"
)

// patience bounds each wait for an answer.
const patience = 10 * time.Second

// show prints a line about the generation that is current now.
func (d *demo) show(ctx context.Context, verb string, took time.Duration) error {
	d.generations++
	generation, err := d.generation(ctx)
	if err != nil {
		return err
	}
	if want := strconv.Itoa(d.generations); generation != want {
		return fmt.Errorf("generation %s answers, want %s", generation, want)
	}
	fmt.Printf("%-16s %7d ms %10s   generation %s\n", d.manager.verb()+" "+verb, took.Milliseconds(), d.manager.mainPID(), generation)
	return nil
}

// generation is the one that the main process, and no other, answers as. The one
// before stops to accept soon after it was told to.
func (d *demo) generation(ctx context.Context) (generation string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pid := d.manager.mainPID()
	for alone := 0; alone < 4; alone++ {
		header, err := d.ask(ctx)
		if err != nil {
			return "", fmt.Errorf("waiting for an answer of process %s: %w", pid, err)
		}
		generation = header.Get("X-Generation")
		if header.Get("X-Pid") != pid {
			alone = -1
		}
	}
	return generation, nil
}

// ask makes a request on a connection of its own.
func (d *demo) ask(ctx context.Context) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+d.manager.address()+"/", nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DialContext: d.manager.dial, DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	return answer.Header, answer.Body.Close()
}

func (d *demo) startLoad() {
	c := load.Config{Dial: d.manager.dial, Network: "tcp", Addr: d.manager.address(), Rate: rate, Timeout: patience}
	d.fresh = load.Start(c)
	c.Conns = kept
	d.kept = load.Start(c)
}

func (d *demo) stopLoad() (fresh, kept load.Report) { return d.fresh.Stop(), d.kept.Stop() }

// handoff is the name of the marked time.
const handoff = "handoff"

func (d *demo) mark() {
	d.fresh.Mark(handoff)
	d.kept.Mark(handoff)
}

func (d *demo) endMark() {
	d.fresh.EndMark()
	d.kept.EndMark()
}

// row prints what a load has shown, and fails if a request did. Retried are those that
// met the end of a kept connection on their way: HTTP's own race, which no server can
// avoid and every client must mend.
func row(name string, r load.Report) error {
	in, out := r.Windows[handoff], r.Windows[load.Outside]
	fmt.Printf("%-16s %10d %8d %8d %13.1f %7.1f ms %11.1f %7.1f ms\n", name, r.OK, r.Retried, r.Failures(),
		ms(in.P50), ms(in.P99), ms(out.P50), ms(out.P99))
	return check(r)
}

func check(r load.Report) error {
	if r.Failures() > 0 || r.OK == 0 {
		return errors.New(r.String())
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
