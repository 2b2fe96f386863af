//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// askAll asks once at each address of standard input.
func askAll() error {
	r := newReport()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		network, address, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			return fmt.Errorf("line %q", lines.Text())
		}
		begin := time.Now()
		answer, err := ask(network, address)
		r.add(begin, lines.Text(), answer, err)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return r.print()
}

// load asks at one address until standard input ends.
func load(network, address string) error {
	end := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	r := newReport()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		begin := time.Now()
		answer, err := ask(network, address)
		r.add(begin, network+" "+address, answer, err)
		select {
		case <-end:
			return r.print()
		case <-tick.C:
		}
	}
}

// ask makes one request, on a socket of its own.
func ask(network, address string) (generation string, err error) {
	if network == "fifo" {
		return askThroughFIFO(address)
	}
	fd, err := dial(network, address)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if err := send(fd, make([]byte, requestSize)); err != nil {
		return "", err
	}
	return answer(fd)
}

func dial(network, address string) (int, error) {
	typ, sa, err := resolve(network, address)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family(sa), typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = bound(fd)
	if err == nil && network == "unixgram" { // a name that the kernel chooses, for the answer
		err = unix.Bind(fd, &unix.SockaddrUnix{})
	}
	if err == nil {
		err = again(func() error { return unix.Connect(fd, sa) })
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// askThroughFIFO waits for the answer at a socket that the request names.
func askThroughFIFO(path string) (string, error) {
	in, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(in)
	if err := bound(in); err != nil {
		return "", err
	}
	if err := unix.Bind(in, &unix.SockaddrUnix{}); err != nil {
		return "", fmt.Errorf("bind: %w", err)
	}
	sa, err := unix.Getsockname(in)
	if err != nil {
		return "", fmt.Errorf("getsockname: %w", err)
	}
	out, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // ENXIO if nobody reads
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	defer unix.Close(out)
	request := bytes.Repeat([]byte{' '}, requestSize)
	copy(request, sa.(*unix.SockaddrUnix).Name)
	if _, err := unix.Write(out, request); err != nil {
		return "", fmt.Errorf("write: %w", err)
	}
	return answer(in)
}

// answer is what the server says; none in time is an error.
func answer(fd int) (string, error) {
	b := make([]byte, requestSize)
	n, err := read(fd, b)
	if err != nil {
		return "", fmt.Errorf("read: %w", err)
	}
	if n == 0 {
		return "", fmt.Errorf("read: %w", io.EOF)
	}
	return string(b[:n]), nil
}

// resolve takes the networks of a spec, and addresses of package net.
func resolve(network, address string) (typ int, sa unix.Sockaddr, err error) {
	switch network {
	case "tcp":
		sa, err = internet(address)
		return unix.SOCK_STREAM, sa, err
	case "udp":
		sa, err = internet(address)
		return unix.SOCK_DGRAM, sa, err
	case "unix":
		return unix.SOCK_STREAM, &unix.SockaddrUnix{Name: address}, nil
	case "unixgram":
		return unix.SOCK_DGRAM, &unix.SockaddrUnix{Name: address}, nil
	case "unixpacket":
		return unix.SOCK_SEQPACKET, &unix.SockaddrUnix{Name: address}, nil
	case "vsock":
		vm := &unix.SockaddrVM{}
		_, err = fmt.Sscanf(address, "%d:%d", &vm.CID, &vm.Port)
		return unix.SOCK_STREAM, vm, err
	}
	return 0, nil, fmt.Errorf("unknown network %q", network)
}

func internet(address string) (unix.Sockaddr, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}, nil
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}, nil
}

func family(sa unix.Sockaddr) int {
	switch sa.(type) {
	case *unix.SockaddrInet4:
		return unix.AF_INET
	case *unix.SockaddrInet6:
		return unix.AF_INET6
	case *unix.SockaddrVM:
		return unix.AF_VSOCK
	}
	return unix.AF_UNIX
}
