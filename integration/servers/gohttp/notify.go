package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// notify sends one datagram as sd_notify(3) does: with a socket of its own for each message, so that whatever is
// found at the path by then gets it.
func notify(message string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(message)); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// startWatchdog sends WATCHDOG=1 at half of WATCHDOG_USEC if WATCHDOG_PID names us. Unlike
// sd_watchdog_enabled(3) it does not take a missing WATCHDOG_PID for a yes, so that a forgotten one shows.
func startWatchdog() error {
	s := os.Getenv("WATCHDOG_USEC")
	if s == "" || os.Getenv("WATCHDOG_PID") != strconv.Itoa(os.Getpid()) {
		return nil
	}
	usec, err := strconv.ParseInt(s, 10, 64)
	if err != nil || usec < 2 {
		return fmt.Errorf("WATCHDOG_USEC: got %q, want microseconds", s)
	}
	go func() { // for as long as the process lives
		for range time.Tick(time.Duration(usec) * time.Microsecond / 2) {
			if err := notify("WATCHDOG=1"); err != nil {
				fmt.Fprintln(os.Stderr, "gohttp:", err) // the manager will act
			}
		}
	}()
	return nil
}
