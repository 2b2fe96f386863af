//go:build linux

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// kindsServer is a command for a unit: it serves sockets of every kind.
const kindsServer = "/opt/flipexec/kinds serve"

// A declared socket is a spec, and "NETWORK ADDRESS" where a client finds it.
type declared struct{ spec, at string }

// listenOptions are these sockets as options.
func listenOptions(sockets []declared) string {
	var b strings.Builder
	for _, s := range sockets {
		fmt.Fprintf(&b, " --listen %s", s.spec)
	}
	return b.String()
}

// declareSockets has the next generation read its sockets from the environment.
func declareSockets(t testing.TB, r *rig.Rig, sockets []declared) {
	t.Helper()
	var specs []string
	for _, s := range sockets {
		specs = append(specs, s.spec)
	}
	writeFile(t, r, "/etc/web.env", fmt.Sprintf("FLIPEXEC_LISTEN=%q\n", strings.Join(specs, " ")))
}

// A kindsReport is what the client prints, see servers/kinds.
type kindsReport struct {
	Answers map[string]int    // by generation
	Failed  map[string]string // by address
	Errors  int
	Slowest time.Duration
}

func (k *kindsReport) parse(t testing.TB, output string) {
	t.Helper()
	if err := json.Unmarshal([]byte(output), k); err != nil {
		t.Fatalf("report %q: %v", output, err)
	}
}

// askEach asks once at each socket.
func askEach(t testing.TB, r *rig.Rig, sockets []declared) (report kindsReport) {
	t.Helper()
	var list strings.Builder
	for _, s := range sockets {
		fmt.Fprintln(&list, s.at)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := r.Command(ctx, "/opt/flipexec/kinds", "ask")
	cmd.Stdin = strings.NewReader(list.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kinds ask: %v\n%s", err, out)
	}
	report.parse(t, string(out))
	return report
}

// checkEach wants an answer of the generation from each socket.
func checkEach(t testing.TB, r *rig.Rig, sockets []declared, generation int) {
	t.Helper()
	report := askEach(t, r, sockets)
	if n := report.Answers[fmt.Sprint(generation)]; n != len(sockets) || report.Errors > 0 {
		t.Errorf("generation %d answers on %d of %d sockets: %+v", generation, n, len(sockets), report)
	}
}

// checkNone wants nobody at sockets that are declared no more.
func checkNone(t *testing.T, r *rig.Rig, sockets []declared) {
	t.Helper()
	if report := askEach(t, r, sockets); len(report.Answers) > 0 {
		t.Errorf("dropped sockets %v: got answers %v", sockets, report.Answers)
	}
}

// A kindsLoad asks at one address all the time.
type kindsLoad struct {
	at    string
	cmd   *rig.Cmd
	input io.Closer
	out   strings.Builder
}

func startKindsLoad(t testing.TB, r *rig.Rig, at string) *kindsLoad {
	t.Helper()
	network, address, _ := strings.Cut(at, " ")
	l := &kindsLoad{at: at, cmd: r.Command(t.Context(), "/opt/flipexec/kinds", "load", network, address)}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	var err error
	if l.input, err = l.cmd.StdinPipe(); err == nil {
		err = l.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // of a test that has failed: a zombie of ours would keep the rig from its end
		l.input.Close()
		_ = l.cmd.Wait() // an error if stop has waited
	})
	return l
}

// stop ends the load. Nothing of it may have failed, and every generation must have had
// a part in it.
func (l *kindsLoad) stop(t testing.TB, generations int) (report kindsReport) {
	t.Helper()
	l.input.Close()
	if err := l.cmd.Wait(); err != nil {
		t.Fatalf("load at %s: %v\n%s", l.at, err, &l.out)
	}
	report.parse(t, l.out.String())
	if report.Errors > 0 {
		t.Errorf("load at %s: %d requests failed, first: %v", l.at, report.Errors, report.Failed)
	}
	if len(report.Answers) != generations {
		t.Errorf("load at %s: got answers %v, want some of each of %d generations", l.at, report.Answers, generations)
	}
	t.Logf("load at %s: %v, slowest %v", l.at, report.Answers, report.Slowest)
	return report
}
