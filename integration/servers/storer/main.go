// storer is a main process without flipexec that has its manager store a descriptor called main. Another process of its
// unit tries to store one called other, before READY=1.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "storer:", err)
		os.Exit(1)
	}
}

func run() error {
	name := "main"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	memory, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	manager, err := notify.Dial(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	until := time.Now().Add(10 * time.Second)
	if err := manager.Send(notify.Message{{Key: "FDSTORE", Value: "1"}, {Key: "FDNAME", Value: name}}, until, memory); err != nil {
		return err
	}
	if err := manager.Barrier(until); err != nil || name != "main" {
		return err
	}
	if out, err := exec.Command("/proc/self/exe", "other").CombinedOutput(); err != nil {
		return fmt.Errorf("other: %w: %s", err, out)
	}
	if err := manager.Send(notify.Message{{Key: "READY", Value: "1"}}, until); err != nil {
		return err
	}
	_, err = unix.Poll(nil, -1) // SIGTERM ends us
	return err
}
