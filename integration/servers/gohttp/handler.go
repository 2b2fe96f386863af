package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// handler answers
//
//	/              who answers
//	/slow?ms=N     the same, after N milliseconds
//	/env?name=X    an environment variable
//	/limits        "nofile SOFT HARD" and "cwd DIR", each in a line
//	/exit?status=N not at all: the server is gone
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, who()) })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { s.answer(w, os.Getenv(r.FormValue("name"))) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(r.FormValue("ms"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(time.Duration(ms) * time.Millisecond)
		s.answer(w, who())
	})
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.FormValue("status"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		os.Exit(status)
	})
	mux.HandleFunc("/limits", func(w http.ResponseWriter, r *http.Request) {
		text, err := limits()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.answer(w, text)
	})
	return mux
}

func who() string {
	return fmt.Sprintf("ok pid=%d gen=%s\n", os.Getpid(), os.Getenv("FLIPEXEC_GENERATION"))
}

// answer is called when the answer is known, so that a drain that began meanwhile is announced in it.
func (s *server) answer(w http.ResponseWriter, text string) {
	h := w.Header()
	h.Set("X-Pid", strconv.Itoa(os.Getpid()))
	h.Set("X-Generation", os.Getenv("FLIPEXEC_GENERATION"))
	h.Set("Content-Length", strconv.Itoa(len(text)))
	if s.Draining() {
		h.Set("Connection", "close")
	}
	_, _ = w.Write([]byte(text)) // a client that has gone is no concern of ours
}

// limits asks a shell: Go raises its own soft limit at the start, but gives what it began with to what it starts.
func limits() (string, error) {
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn").Output()
	if err != nil {
		return "", err
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("nofile %s\ncwd %s\n", strings.Join(strings.Fields(string(out)), " "), dir), nil
}
