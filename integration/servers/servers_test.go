//go:build linux

package servers_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// get returns the answer and its body.
func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

// dial returns a connection for exchange.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange makes a request on a connection that may be used again.
func exchange(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	return r
}

// gohttp builds the Go server.
func gohttp(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gohttp")
	if out, err := exec.Command("go", "build", "-o", path, "./gohttp").CombinedOutput(); err != nil {
		t.Fatalf("build gohttp: %v\n%s", err, out)
	}
	return path
}

func TestServersTakeTheSocketSayReadyAnswerAndStop(t *testing.T) {
	for _, tc := range []struct {
		name, dir string
		argv      []string
	}{
		{"go", ".", []string{gohttp(t)}},
		{"gunicorn", "wsgi", []string{"/usr/bin/gunicorn", "--preload", "-w", "2", "app:app"}},
		{"node", "node", []string{"node", "server.js"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			listener, addr := listen(t)
			p := start(t, listener, tc.dir, nil, tc.argv...)
			p.wantMessage("READY=1")
			silent := dial(t, addr) // keeps one of gunicorn's two workers busy, so that the other has to answer
			r, body := get(t, "http://"+addr+"/")
			pid := strconv.Itoa(p.cmd.Process.Pid)
			if want := fmt.Sprintf("ok pid=%s gen=7\n", pid); r.StatusCode != 200 || body != want {
				t.Errorf("answer: got %d %q, want %d %q", r.StatusCode, body, 200, want)
			}
			if got := r.Header.Get("X-Pid"); got != pid {
				t.Errorf("X-Pid: got %q, want %q", got, pid)
			}
			if r.ContentLength != int64(len(body)) {
				t.Errorf("Content-Length: got %d, want %d", r.ContentLength, len(body))
			}
			// Now both workers are up. Gunicorn's forget a SIGTERM in their first milliseconds, and stop 30s later.
			if r := exchange(t, silent); r.StatusCode != 200 {
				t.Errorf("first connection's answer: got %d, want 200", r.StatusCode)
			}
			silent.Close()
			p.terminate()
			p.wantExit(0)
		})
	}
}

func TestServersRefuseSocketsOfAnotherProcess(t *testing.T) {
	for _, tc := range []struct {
		name, dir string
		argv      []string
	}{
		{"go", ".", []string{gohttp(t)}},
		{"node", "node", []string{"node", "server.js"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			listener, _ := listen(t)
			start(t, listener, tc.dir, []string{"LISTEN_PID=1"}, tc.argv...).wantExit(1)
		})
	}
}
