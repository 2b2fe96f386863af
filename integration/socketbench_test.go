//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// socketCounts are the points of the curve.
var socketCounts = []int{1, 100, 1_000, 10_000}

// BenchmarkHandoffOfSockets measures systemctl reload of a server with so many sockets,
// which leaves them alone: what there is to do is flipexec's and the kernel's. Beside it,
// what it takes to send as many descriptors once and receive them; a handoff does that
// twice, gives them to the stage, and closes four copies.
func BenchmarkHandoffOfSockets(b *testing.B) {
	buildReferences(b)
	rigs := map[int]*rig.Rig{}
	for _, n := range socketCounts {
		rigs[n] = bootWithSockets(b, n)
	}
	reload, bare := map[int][]time.Duration{}, map[int][]time.Duration{}
	for b.Loop() {
		for range 15 {
			for _, n := range socketCounts { // by turns, so that all see the same machine
				reload[n] = append(reload[n], timeReload(b, rigs[n]))
				bare[n] = append(bare[n], timeBareTransfer(b, n))
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	base := median(reload[1])
	for _, n := range socketCounts {
		took, added, alone := median(reload[n]), median(reload[n])-base, median(bare[n])
		b.ReportMetric(milliseconds(took), fmt.Sprintf("%d-ms", n))
		line := fmt.Sprintf("%5d sockets: %6.1f ms", n, milliseconds(took))
		if n > 1 {
			b.ReportMetric(milliseconds(added), fmt.Sprintf("%d-added-ms", n))
			line += fmt.Sprintf(", %6.1f ms added, %5.2f µs a socket; sendmsg and recvmsg alone %5.2f µs",
				milliseconds(added), microseconds(added)/float64(n-1), microseconds(alone)/float64(n))
		}
		b.Log(line)
	}
	b.Log("goal: 1000 add less than 20 ms, 10000 less than 200 ms")
}

// bootWithSockets starts a server with so many sockets.
func bootWithSockets(b *testing.B, n int) *rig.Rig {
	b.Helper()
	r := boot(b, "host")
	install(b, r, strings.Replace(manyUnit(manySockets(n), "LimitNOFILE=12000:12000"), kindsServer, "/opt/flipexec/clock", 1))
	must(b, r, "start", "web")
	return r
}

func timeReload(b *testing.B, r *rig.Rig) time.Duration {
	b.Helper()
	begin := time.Now()
	must(b, r, "reload", "web")
	took := time.Since(begin)
	awaitOneGeneration(b, r)
	return took
}

// timeBareTransfer sends so many descriptors over a socket pair and receives them, in
// batches as large as the kernel takes.
func timeBareTransfer(b *testing.B, n int) time.Duration {
	b.Helper()
	const batch = 253 // SCM_MAX_FD
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	fds := make([]int, batch)
	for i := range fds {
		fds[i] = pair[0]
	}
	var received []int
	oob := make([]byte, unix.CmsgSpace(batch*4))
	begin := time.Now()
	for left := n; left > 0; left -= batch {
		if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fds[:min(left, batch)]...), nil, 0); err != nil {
			b.Fatal(err)
		}
		_, oobn, _, _, err := unix.Recvmsg(pair[1], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			b.Fatal(err)
		}
		got, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			b.Fatal(err)
		}
		received = append(received, got...)
	}
	took := time.Since(begin)
	for _, fd := range received {
		unix.Close(fd)
	}
	if len(received) != n {
		b.Fatalf("received %d descriptors, want %d", len(received), n)
	}
	return took
}
