// Block is the least that a Go program can do to wait: read(2) until its standard
// input ends.
package main

import "syscall"

func main() {
	var buf [1]byte
	for {
		n, err := syscall.Read(0, buf[:])
		if n == 0 || err != nil && err != syscall.EINTR {
			return
		}
	}
}
