//go:build linux

// Peer is a process that means no good, for another user to run:
//
//	peer ask ADDRESS NUMBER    opens so many control connections, asks on each for a
//	                           reload, and prints how they ended
//	peer connect ADDRESS       opens and closes connections until it is killed
//	peer notify PATH TEXT ...  sends each text to a notify socket until it is killed
package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("peer: too few arguments")
	}
	var err error
	switch address, rest := os.Args[2], os.Args[3:]; os.Args[1] {
	case "ask":
		err = ask(address, rest[0])
	case "connect":
		err = connect(address)
	case "notify":
		err = notify(address, rest)
	}
	if err != nil {
		log.Fatal("peer: ", err)
	}
}

func ask(address, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	all := make([]net.Conn, n)
	for i := range all {
		if all[i], err = net.Dial("unixpacket", address); err != nil {
			return err
		}
		all[i].Write([]byte(".reload\x00version=1\x00least=1\x00")) // best effort: it may be closed already
	}
	unheard := 0
	for _, c := range all {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n == 0 && !os.IsTimeout(err) {
			unheard++
		}
	}
	fmt.Println(unheard, "hung up unheard")
	return nil
}

func connect(address string) error {
	for {
		c, err := net.Dial("unixpacket", address)
		if errors.Is(err, unix.EAGAIN) {
			time.Sleep(time.Millisecond) // the backlog is full
			continue
		}
		if err != nil {
			return err
		}
		c.Close()
	}
}

// notify waits for the socket to be made, but never for room in its queue: whoever
// sleeps there leaves time to empty it.
func notify(path string, texts []string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		err := unix.Sendto(fd, []byte(texts[i%len(texts)]), 0, &unix.SockaddrUnix{Name: path})
		if err != nil && err != unix.EAGAIN {
			time.Sleep(time.Millisecond)
		}
	}
}
