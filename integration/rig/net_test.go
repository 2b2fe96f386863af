//go:build linux

package rig_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

// serve answers every connection to l with text until l is closed.
func serve(l net.Listener, text string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(c, text)
		c.Close()
	}
}

func TestRigsHaveTheirOwnNetworkAndPaths(t *testing.T) {
	const tcp = "127.0.0.1:80"
	var rigs [2]*rig.Rig
	for i := range rigs {
		rigs[i] = rig.New(t, rig.Config{})
		l, err := rigs[i].Listen("tcp", tcp)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go serve(l, rigs[i].Name)
		if err := os.WriteFile(rigs[i].Path("/etc/name"), []byte(rigs[i].Name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rigs {
		c, err := r.Dial(t.Context(), "tcp", tcp)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		c.Close()
		if string(got) != r.Name || err != nil {
			t.Errorf("dial %s: got %q, %v; want %q", tcp, got, err, r.Name)
		}
		if got, err := r.Run("cat", "/etc/name"); got != r.Name || err != nil {
			t.Errorf("/etc/name: got %q, %v; want %q", got, err, r.Name)
		}
	}
}

func TestDialReachesUnixSockets(t *testing.T) {
	r := rig.New(t, rig.Config{Units: map[string]string{
		"hi.socket":   "[Socket]\nListenStream=/run/hi\nListenStream=@hi\nAccept=yes\n",
		"hi@.service": "[Service]\nExecStart=/bin/echo hi\nStandardOutput=socket\n",
	}})
	if out, err := r.Systemctl("start", "hi.socket"); err != nil {
		t.Fatal(out, err)
	}
	for _, addr := range []string{"/run/hi", "@hi"} {
		c, err := r.Dial(t.Context(), "unix", addr)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		c.Close()
		if string(got) != "hi\n" || err != nil {
			t.Errorf("dial %s: got %q, %v; want %q", addr, got, err, "hi\n")
		}
	}
}

func TestDialComesBackToTheHost(t *testing.T) {
	r := rig.New(t, rig.Config{})
	host, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := r.Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
					t.Error("dial: got no error where nothing listens")
				}
				if got, err := os.Readlink("/proc/thread-self/ns/net"); got != host {
					t.Errorf("network after Dial: got %q, %v; want %q", got, err, host)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkDial(b *testing.B) {
	r := rig.New(b, rig.Config{})
	l, err := r.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go serve(l, "x")
	for b.Loop() {
		c, err := r.Dial(b.Context(), "tcp", "127.0.0.1:80")
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
