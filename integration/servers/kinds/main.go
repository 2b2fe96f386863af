//go:build linux

// kinds is a server of the integration tests for sockets of every kind, and its client:
//
//	kinds serve                 answers on all that it was passed until SIGTERM; says READY=1,
//	                            and both only after a time of $KINDS_START_DELAY if there is one
//	kinds ask                   asks once at each "NETWORK ADDRESS" of standard input
//	kinds load NETWORK ADDRESS  asks two hundred times a second until standard input ends
//
// A request is a record of 64 bytes, and the answer is the server's generation: on the
// same connection, to the sender of the datagram, or, to what came through a FIFO, at the
// socket that the request names. ask and load print a report (report.go).
//
// The server loses nothing by itself: it does one thing after the other, answers what it
// has accepted or read before it looks for SIGTERM, and leaves the rest to whoever has the
// sockets, too.
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 1 && args[0] == "serve":
		err = serve()
	case len(args) == 1 && args[0] == "ask":
		err = askAll()
	case len(args) == 3 && args[0] == "load":
		err = load(args[1], args[2])
	default:
		err = fmt.Errorf("unknown arguments %q", args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kinds:", err)
		os.Exit(1)
	}
}
