// Goexec is the least that a Go program can do to start another: execve(2).
package main

import (
	"os"
	"syscall"
)

func main() {
	err := syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
	println(err.Error())
	os.Exit(1)
}
