// witness is a server of the integration tests that tells of what happens to it: one datagram to the socket $WITNESS for
// each thing that it saw, and nothing on its standard descriptors.
//
//	generation 1 is 4711        it has started; the process ID
//	ready                       it has said READY=1
//	signal INT                  it got that
//	read LINE                   from its standard input
//
// $READ=start reads a line before READY=1, as of a passphrase, and then everything that comes; $READ=ready does so from
// READY=1 on; $READ=end when it is to end, until somebody continues it. SIGINT, SIGTERM and SIGHUP end it, of $TERMS
// times SIGTERM only the last; SIGQUIT does with the status $STATUS, or 3. $HANG=1 keeps it from READY=1.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Fprintln(os.Stderr, "witness:", run())
	os.Exit(1)
}

// run comes back with an error only: it is a signal that ends a server.
func run() error {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, caught()...)
	if err := tell("generation %s is %d", os.Getenv("FLIPEXEC_GENERATION"), os.Getpid()); err != nil {
		return err
	}
	go attend(signals)
	input := bufio.NewReader(os.Stdin)
	if os.Getenv("READ") == "start" {
		readLine(input)
	}
	if os.Getenv("HANG") != "" {
		select {}
	}
	if err := sayReady(); err != nil {
		return err
	}
	for reads := os.Getenv("READ"); (reads == "start" || reads == "ready") && readLine(input); {
	}
	select {}
}

// caught are the signals that can be caught and do not stop a process. What was ignored stays so.
func caught() (all []os.Signal) {
	for sig := unix.SIGHUP; sig <= 64; sig++ {
		switch sig {
		case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCHLD, unix.SIGURG, unix.SIGPROF:
		default:
			if !signal.Ignored(sig) {
				all = append(all, sig)
			}
		}
	}
	return all
}

// attend tells of signals, and ends by those that end a server.
func attend(signals <-chan os.Signal) {
	terms := number("TERMS", 1)
	for sig := range signals {
		s := sig.(unix.Signal)
		tell("signal %s", name(s))
		switch s {
		case unix.SIGQUIT:
			os.Exit(number("STATUS", 3))
		case unix.SIGTERM:
			if terms--; terms <= 0 {
				dieBy(s)
			}
		case unix.SIGINT, unix.SIGHUP:
			dieBy(s)
		}
	}
}

// name is INT for SIGINT, and a number for those that have none.
func name(sig unix.Signal) string {
	if n := unix.SignalName(sig); n != "" {
		return strings.TrimPrefix(n, "SIG")
	}
	return strconv.Itoa(int(sig))
}

// number is a variable, or what it is else.
func number(variable string, initial int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return initial
}

func dieBy(sig unix.Signal) {
	signal.Reset(sig)
	if os.Getenv("READ") == "end" {
		readUntilContinued()
	}
	unix.Kill(os.Getpid(), sig)
	select {}
}

func readLine(r *bufio.Reader) bool {
	line, err := r.ReadString('\n')
	if err != nil {
		tell("read: %v", err)
		return false
	}
	tell("read %s", strings.TrimSuffix(line, "\n"))
	return true
}

// readUntilContinued reads from a terminal that another process group has, and is stopped for that.
func readUntilContinued() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	go unix.Read(0, make([]byte, 1))
	<-continued
}

// sayReady does so where somebody listens: directly behind a shell nobody does.
func sayReady() error {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		if err := send(path, "READY=1"); err != nil {
			return err
		}
	}
	return tell("ready")
}

func tell(format string, args ...any) error {
	return send(os.Getenv("WITNESS"), fmt.Sprintf(format, args...))
}

func send(path, text string) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(text))
	return err
}
