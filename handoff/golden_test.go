package handoff

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// update writes the golden messages anew, after a change that an older peer can
// live with: go test ./handoff -run Golden -update
var update = flag.Bool("update", false, "write testdata/golden")

// A golden message is a text file: "record" and how many descriptors it has, and
// then its bytes, one quoted line for each part that ends with NUL.
func goldenText(records []record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "record, descriptors: %d\n", len(r.fds))
		for _, part := range strings.SplitAfter(string(r.data), "\x00") {
			if part != "" {
				fmt.Fprintf(&b, "%q\n", part)
			}
		}
	}
	return b.String()
}

func goldenPath(name string) string { return filepath.Join("testdata", "golden", name+".txt") }

// checkGolden compares what was sent with the file.
func checkGolden(t *testing.T, name string, records []record) {
	t.Helper()
	got := goldenText(records)
	if *update {
		if err := os.WriteFile(goldenPath(name), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenPath(name))
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%swant\n%s", name, got, want)
	}
}

// sendGolden sends the message of a file, with descriptors that are duplicates of
// fd.
func sendGolden(t *testing.T, c *channel, name string, fd int) {
	t.Helper()
	text, err := os.ReadFile(goldenPath(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range strings.Split(string(text), "record, descriptors: ")[1:] {
		lines := strings.Split(strings.TrimSuffix(r, "\n"), "\n")
		n, err := strconv.Atoi(lines[0])
		if err != nil {
			t.Fatal(err)
		}
		data, fds := "", make([]int, n)
		for i := range fds {
			fds[i] = fd
		}
		for _, line := range lines[1:] {
			part, err := strconv.Unquote(line)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, line, err)
			}
			data += part
		}
		var oob []byte
		if n > 0 {
			oob = unix.UnixRights(fds...)
		}
		if err := unix.Sendmsg(c.fd, []byte(data), oob, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// receiveRecords takes the next message as it is on the wire, and closes its
// descriptors.
func receiveRecords(t *testing.T, c *channel) []record {
	t.Helper()
	var records []record
	for more := true; more; {
		data, fds, err := c.receiveRecord(time.Now().Add(patience))
		if err != nil {
			t.Fatal(err)
		}
		closeAll(fds)
		records = append(records, record{data, fds})
		more = data[0] == moreFollow
	}
	return records
}

// goldenEstate is one with everything that a keeper can leave. The numbers stand
// for files and processes that are not looked at.
func goldenEstate(fd int) estate {
	return estate{
		Generation: 7,
		Command:    []string{"/usr/bin/server", "-v", "", "a b\xff"},
		Settings:   []Setting{{"listen", "http=tcp::80"}, {"pid-file", "/run/web/pid"}},
		Sockets: []activation.Socket{
			{FD: fd, Name: "http", Spec: "http=tcp::80", Stored: "flipexec=5678,0,0=http"},
			{FD: fd, Name: "unknown", Spec: "unix:/run/web/s", Dev: 26, Ino: 1234},
			{FD: fd, Name: "web.socket"},
		},
		Control:     activation.Socket{FD: fd, Name: "unknown", Spec: "unixpacket:/run/web/flipexec.sock", Dev: 26, Ino: 1233},
		Own:         []descriptor{{fd: fd, name: "state"}, {fd: fd, name: "client", poll: true}},
		Forget:      []string{"flipexec=5677,0,0=old"},
		Watchdog:    "3000000",
		Credentials: "/run/credentials/web.service",
		Older: []*predecessor{
			{generation: 5, server: process{4040, fd}, options: Options{StopSignal: unix.SIGTERM, DrainTimeout: time.Second}},
			{generation: 6, server: process{4141, fd}, options: Options{StopSignal: unix.SIGINT}, keeper: &channel{fd}},
		},
	}
}

func TestGoldenRequestIsWhatALauncherSays(t *testing.T) {
	checkFDs(t)
	c := startControl(t)
	l, outcome := startReload(t, c.env)
	peer := c.accept(t)
	checkGolden(t, "reload", receiveRecords(t, peer))
	peer.close()
	checkError(t, "hung up", <-outcome, "no answer from the running generation")
	if l.predecessor != nil {
		t.Error("the launcher has a predecessor")
	}
}

func TestGoldenEstateIsWhatAKeeperAnswers(t *testing.T) {
	checkFDs(t)
	k, env := startCurrent(t)
	us := connect(t, k, env)
	sendGolden(t, us, "reload", 0)
	k.await()
	checkGolden(t, "estate", receiveRecords(t, us))
}

func TestGoldenRefusalIsWhatAKeeperAnswers(t *testing.T) {
	checkFDs(t)
	k, env := startCurrent(t)
	us := connect(t, k, env)
	request := message{kind: msgReload}
	versions{least: 8, own: 9}.appendTo(&request)
	send(t, us, request)
	k.await()
	checkGolden(t, "refused", receiveRecords(t, us))
}

func TestGoldenCommitIsWhatANewKeeperSays(t *testing.T) {
	checkFDs(t)
	us, its := channels(t)
	defer us.close()
	p := predecessor{keeper: its, server: process{4242, newEvent(t)}}
	defer its.close()
	p.commit()
	checkGolden(t, "commit", receiveRecords(t, us))
}

func TestGoldenReplacedIsWhatAReplacedKeeperSays(t *testing.T) {
	checkFDs(t)
	k, env := startCurrent(t)
	us := connect(t, k, env)
	sendGolden(t, us, "reload", 0)
	k.await()
	receiveRecords(t, us)
	sendGolden(t, us, "commit", 0)
	k.await()
	if k.state != draining {
		t.Errorf("got state %v, want %v", k.state, draining)
	}
	checkGolden(t, "replaced", receiveRecords(t, us))
}

func TestGoldenReplacedIsUnderstood(t *testing.T) {
	checkFDs(t)
	us, its := channels(t)
	sendGolden(t, us, "replaced", 0)
	p := predecessor{keeper: its, ours: true}
	if p.readAnswer(); !p.told || p.keeper == nil {
		t.Errorf("got told %v, keeper %v, want told", p.told, p.keeper)
	}
	us.close()
	its.close()
}

func TestGoldenEstateIsTakenOver(t *testing.T) {
	checkFDs(t)
	c := startControl(t)
	l, outcome := startReload(t, c.env)
	peer := c.accept(t)
	receiveRecords(t, peer)
	sendGolden(t, peer, "estate", newSocket(t))
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	peer.close()
	checkTakenOver(t, l)
}

// checkTakenOver wants the launcher to have what goldenEstate leaves, and closes it.
func checkTakenOver(t *testing.T, l *launcher) {
	t.Helper()
	got, want := l.estate, goldenEstate(0)
	want.Generation++
	sockets := want.Sockets
	want.Sockets = nil
	for i, s := range l.inherited {
		s.Close()
		if s.FD = 0; i >= len(sockets) || s != sockets[i] {
			t.Errorf("socket %d: got %+v, want one of %+v", i, s, sockets)
		}
	}
	if len(l.inherited) != len(sockets) {
		t.Errorf("got %d sockets, want %d", len(l.inherited), len(sockets))
	}
	for i, d := range got.Own {
		d.close()
		got.Own[i].fd, got.Own[i].file = 0, fileID{}
	}
	checkOlder(t, l)
	got.Older, want.Older = nil, nil
	got.Control.Close()
	if got.Control.FD = 0; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// checkOlder wants the generations that drain and the one that answered, and closes
// them.
func checkOlder(t *testing.T, l *launcher) {
	t.Helper()
	var got []string
	for _, p := range l.Older {
		got = append(got, fmt.Sprintf("%d pid=%d keeper=%v %v", p.generation, p.server.pid, p.keeper != nil, p.options.finishing()))
		p.close()
	}
	want := []string{
		"5 pid=4040 keeper=false [{stop-signal TERM} {drain-timeout 1s}]",
		"6 pid=4141 keeper=true [{stop-signal INT} {drain-timeout 0s}]",
		"7 pid=4242 keeper=true [{stop-signal QUIT} {drain-timeout 1m30s}]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("older generations: got %q, want %q", got, want)
	}
}
