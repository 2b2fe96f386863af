package pidfile

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tempName returns a name that nobody can have put a trap at: 128 random bits.
func tempName() (string, error) {
	var b [16]byte
	err := retry(func() error {
		_, err := unix.Getrandom(b[:], 0) // whole for up to 256 bytes
		return err
	})
	return fmt.Sprintf(".pid-%x", b), os.NewSyscallError("getrandom", err)
}

func openat(dirfd int, path string, flags int, mode uint32) (fd int, err error) {
	for {
		fd, err = unix.Openat(dirfd, path, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// transfer repeats call until it has moved all of b, or nothing more.
func transfer(op string, b []byte, call func([]byte) (int, error)) (done int, err error) {
	for done < len(b) {
		n, err := call(b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return done, os.NewSyscallError(op, err)
		}
		done += n
	}
	return done, nil
}

func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
