//go:build linux

package main

import (
	"encoding/json"
	"os"
	"time"
)

// A report counts what requests came to.
type report struct {
	Answers map[string]int    `json:"answers"` // by generation
	Failed  map[string]string `json:"failed"`  // by address, the first error
	Errors  int               `json:"errors"`
	Slowest time.Duration     `json:"slowest"`
}

func newReport() *report { return &report{Answers: map[string]int{}, Failed: map[string]string{}} }

// add counts what came of a request that was made at begin.
func (r *report) add(begin time.Time, address, generation string, err error) {
	r.Slowest = max(r.Slowest, time.Since(begin))
	if err == nil {
		r.Answers[generation]++
		return
	}
	r.Errors++
	if _, known := r.Failed[address]; !known {
		r.Failed[address] = err.Error()
	}
}

func (r *report) print() error { return json.NewEncoder(os.Stdout).Encode(r) }
