package handoff

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// TestLongestNamesAreThoseOfTheKernel: one byte more than what is taken here, and
// execve(2) fails.
func TestLongestNamesAreThoseOfTheKernel(t *testing.T) {
	names := slices.Repeat([]string{strings.Repeat("n", 99)}, 32*os.Getpagesize()/100)
	for ; checkNamesFit(names) == nil; names[0] += "n" {
		if len(names[0]) > 1000 {
			t.Fatal("any length fits")
		}
	}
	run := func(names []string) error {
		cmd := exec.Command("/bin/true")
		cmd.Env = []string{activation.EnvNames + "=" + strings.Join(names, ":")}
		return cmd.Run()
	}
	checkError(t, "too long", checkNamesFit(names), "LISTEN_FDNAMES would have 131073 bytes for 1310 descriptors, and the kernel takes 131072; hint: shorter names")
	if err := run(names); !errors.Is(err, unix.E2BIG) {
		t.Errorf("too long: the kernel says %v", err)
	}
	names[0] = names[0][1:]
	if err := run(names); err != nil {
		t.Errorf("longest: %v", err)
	}
}

// TestNamesThatDoNotFitAreAUsageError: before a socket is made.
func TestNamesThatDoNotFitAreAUsageError(t *testing.T) {
	var settings []Setting
	for i := range 10_000 {
		settings = append(settings, Setting{"listen", fmt.Sprintf("name-%08d=tcp::%d", i, i)})
	}
	_, err := ParseOptions(settings, func(string) (string, bool) { return "", false })
	checkError(t, "names of 13 bytes", err, "--listen: LISTEN_FDNAMES would have 140015 bytes for 10000 descriptors")
	if ExitCode(err) != ExitUsage {
		t.Errorf("exit code: got %d, want %d", ExitCode(err), ExitUsage)
	}
}

// TestNamesThatDoNotFitUndoTheSockets: those of the manager count as well.
func TestNamesThatDoNotFitUndoTheSockets(t *testing.T) {
	checkFDs(t)
	inherited := []activation.Socket{{FD: 0, Name: strings.Repeat("n", 32*os.Getpagesize())}}
	spec, err := activation.ParseSpec("tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = gatherSockets([]activation.Spec{spec}, inherited, false, nil)
	checkError(t, "names", err, "for 2 descriptors")
}

// lowerLimit sets the soft RLIMIT_NOFILE until the test ends.
func lowerLimit(t *testing.T, to int) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(to), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRoomIsMadeOrRefused(t *testing.T) {
	checkFDs(t)
	lowerLimit(t, 500)
	for _, n := range []int{0, 10, 63, 64, 400, 468} {
		if err := makeRoom(n); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
	if size := tableSize(t); size < 500 {
		t.Errorf("the table has room for %d", size)
	}
	for _, n := range []int{469, 10_000} {
		checkError(t, fmt.Sprint(n), makeRoom(n), fmt.Sprintf("%d descriptors do not fit into RLIMIT_NOFILE, which is 500; hint: LimitNOFILE=%d or more in the unit", n, n+32))
	}
}

// tableSize is how many descriptors have room without a wait.
func tableSize(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "FDSize:")
	size, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestDescriptorsThatDoNotFitAreRefusedByTheirNumber: which the first record tells, so
// that the others are not even read.
func TestDescriptorsThatDoNotFitAreRefusedByTheirNumber(t *testing.T) {
	checkFDs(t)
	m := message{kind: "k"}
	for range 3 * recordFDs {
		m.addFD("a", "", 0)
	}
	lowerLimit(t, 700)
	_, err := transfer(t, m)
	checkError(t, "limit", err, "message k: descriptors=759: 759 descriptors do not fit into RLIMIT_NOFILE, which is 700")
}

func TestNumberOfDescriptorsThatIsNoneIsRefused(t *testing.T) {
	checkFDs(t)
	a, b := channels(t)
	defer a.close()
	defer b.close()
	for _, text := range []string{"x", "0", "-1", "99999999999999999999"} {
		if err := unix.Sendmsg(a.fd, []byte("+k\x00descriptors="+text+"\x00@a=\x00"), unix.UnixRights(0), nil, 0); err != nil {
			t.Fatal(err)
		}
		_, err := b.receive()
		checkError(t, text, err, "message k: descriptors="+text+": is no number")
	}
}

// roleSender sends many descriptors to nobody, as a user to whom the limits apply.
func roleSender() error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 300, Max: 300}); err != nil {
		return err
	}
	a, _, err := newChannelPair()
	if err != nil {
		return err
	}
	m := message{kind: "k"}
	for range 4 * recordFDs {
		m.addFD("a", "", 1)
	}
	fmt.Println(a.send(m))
	return nil
}

func TestTooManyDescriptorsOnTheirWayAreNamed(t *testing.T) {
	uid := os.Geteuid()
	if uid == 0 {
		uid = nobody
	}
	out, err := as(uid, "sender").Output()
	if want := "send k: too many descriptors of this user are on their way: too many references: cannot splice; hint: LimitNOFILE= in the unit\n"; string(out) != want || err != nil {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

// rolePlacing has descriptors for the next program in every order, at their places and
// behind them, and prints what did not arrive.
func rolePlacing() error {
	const n = 4
	for _, shift := range []int{0, 1, 3} {
		for _, order := range permutations(n) {
			if err := place(order, shift); err != nil {
				return fmt.Errorf("order %v, shifted by %d: %w", order, shift, err)
			}
		}
	}
	return nil
}

func place(order []int, shift int) error {
	var sockets []activation.Socket
	var inodes []uint64
	for _, at := range order {
		s := activation.Socket{FD: activation.FirstFD + at + shift}
		inode, err := openAt(s.FD)
		if err != nil {
			return err
		}
		sockets, inodes = append(sockets, s), append(inodes, inode)
	}
	if err := placeFrom3(sockets); err != nil {
		return err
	}
	for i, want := range inodes {
		var st unix.Stat_t
		if err := unix.Fstat(activation.FirstFD+i, &st); err != nil {
			return err
		}
		flags, err := unix.FcntlInt(uintptr(activation.FirstFD+i), unix.F_GETFD, 0)
		if err != nil || st.Ino != want || flags != 0 {
			return fmt.Errorf("place %d: inode %d, want %d; flags %d, %v", i, st.Ino, want, flags, err)
		}
	}
	return nil
}

// openAt makes a file with that descriptor.
func openAt(fd int) (inode uint64, err error) {
	file, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	if file != fd {
		err = unix.Dup3(file, fd, unix.O_CLOEXEC)
		unix.Close(file)
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	return st.Ino, err
}

func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for i := range n {
			all = append(all, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return all
}

func TestSocketsFindTheirPlacesFromAnywhere(t *testing.T) {
	if out, err := as(os.Geteuid(), "placing").Output(); err != nil {
		t.Errorf("got %v\n%s", err, out)
	}
}

// rolePolling puts sockets in the place of the descriptors by which the runtime waits for
// timers, and goes on to wait for some.
func rolePolling() error {
	startPoller()
	var sockets []activation.Socket
	for range 20 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return err
		}
		sockets = append(sockets, activation.Socket{FD: fd})
	}
	ownTable()
	if err := placeFrom3(sockets); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	for range 20 {
		<-tick.C
	}
	return nil
}

// TestSocketsInThePlaceOfTheRuntimesDescriptors: its other threads do not see them.
func TestSocketsInThePlaceOfTheRuntimesDescriptors(t *testing.T) {
	cmd := as(os.Geteuid(), "polling")
	cmd.Stderr = nil // for the error
	if out, err := cmd.Output(); err != nil {
		t.Errorf("got %v\n%s", err, out)
	}
}
