//go:build linux

// gojudge writes what go-systemd says of the descriptors that this process was passed,
// as judge.c does:
//
//	gojudge REPORT NEXT ...
package main

import (
	"cmp"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// firstFD is SD_LISTEN_FDS_START.
const firstFD = 3

func main() {
	report, next := os.Args[1], os.Args[2:]
	files := activation.Files(false)
	var b strings.Builder
	fmt.Fprintln(&b, len(files))
	for i, f := range files {
		kind, address := describe(f)
		fmt.Fprintln(&b, firstFD+i, kind, address, f.Name()) // File.Fd would switch O_NONBLOCK off for all who have the socket
	}
	path := fmt.Sprintf("%s-%s-go-systemd", report, cmp.Or(os.Getenv("FLIPEXEC_GENERATION"), "0"))
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		log.Fatal(err)
	}
	for i := range files { // go-systemd made them close-on-exec
		if _, err := unix.FcntlInt(uintptr(firstFD+i), unix.F_SETFD, 0); err != nil {
			log.Fatal(err)
		}
	}
	err := unix.Exec(next[0], next, os.Environ())
	runtime.KeepAlive(files) // until here: what is collected is closed
	log.Fatal(err)
}

// describe tells what package net makes of the descriptor.
func describe(f *os.File) (kind, address string) {
	if l, err := net.FileListener(f); err == nil { // works on a duplicate
		defer l.Close()
		return l.Addr().Network(), l.Addr().String()
	}
	if c, err := net.FilePacketConn(f); err == nil {
		defer c.Close()
		return c.LocalAddr().Network(), c.LocalAddr().String()
	}
	return "-", "-"
}
