package graceful

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/notify"
)

// sendTime bounds the wait for room in the manager's queue.
const sendTime = 5 * time.Second

// notifyManager opens the socket for each message: under flipexec its path leads to
// another one once the server has taken over.
func notifyManager(key, value string) error {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	s, err := notify.Dial(address)
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer s.Close()
	return s.Send(notify.Message{{Key: key, Value: value}}, time.Now().Add(sendTime))
}

// startWatchdog sends WATCHDOG=1 twice in each interval, for as long as the process
// lives, if it is asked to: sd_watchdog_enabled(3).
func startWatchdog() error {
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n < 2 {
		return fmt.Errorf("WATCHDOG_USEC=%q is no number of microseconds", usec)
	}
	go func() {
		for range time.Tick(time.Duration(n) * time.Microsecond / 2) {
			notifyManager("WATCHDOG", "1") // best effort: the manager acts if it fails for long
		}
	}()
	return nil
}
