//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

var reached = regexp.MustCompile(`\breached\("([^"]+)"\)`)

// findSteps lists the steps at which a program with the tag "faults" can be
// stopped, as its source in dir names them.
func findSteps(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var steps []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range reached.FindAllSubmatch(text, -1) {
			steps = append(steps, string(m[1]))
		}
	}
	slices.Sort(steps)
	if steps = slices.Compact(steps); len(steps) == 0 {
		return nil, fmt.Errorf("no steps in %s; hint: run from the root of the source", dir)
	}
	return steps, nil
}
