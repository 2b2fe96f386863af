package pidfile_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/flipexec/flipexec/pidfile"
)

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "server.pid")

	if err := pidfile.Check(path); err != nil {
		fmt.Println(err)
		return
	}
	f, err := pidfile.Write(path, 4711)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pidfile.Read(path))

	// The manager did not take the new PID: as it was.
	fmt.Println(f.Restore(), pidfile.Remove(path, 4711))
	// Output:
	// 4711 <nil>
	// <nil> <nil>
}
