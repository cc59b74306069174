// Package scenario runs scenario files: commands, and under ---- what comes out, as an operator would read it. Blocks are
// separated by an empty line and share the state of their file; a line that begins with # is a comment.
// `go test -rewrite` writes what came out into the files; the diff is what a reviewer reads.
package scenario

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the output into the scenario files")

// Run runs every file that matches pattern. start begins a file and returns what executes one command line; output is
// joined by lines.
func Run(t *testing.T, pattern string, start func(t *testing.T) func(line string) string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario matches %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, file, start(t)) })
	}
}

func runFile(t *testing.T, file string, run func(line string) string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(raw), play(t, file, string(raw), run))
}

// RunPage runs the blocks of a page that are fenced as scenario, each from a new start.
func RunPage(t *testing.T, page string, start func(t *testing.T) func(line string) string) {
	const opens, closes = "\n```scenario\n", "\n```\n"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(raw), opens)
	if len(parts) == 1 {
		t.Fatalf("%s has no scenario", page)
	}
	for i, part := range parts[1:] {
		text, after, closed := strings.Cut(part, closes)
		if !closed {
			t.Fatalf("%s: scenario %d is not closed", page, i+1)
		}
		parts[i+1] = strings.TrimRight(play(t, page, text+"\n", start(t)), "\n") + closes + after
	}
	write(t, page, string(raw), strings.Join(parts, opens))
}

// play runs the blocks of a text and returns it with what came out.
func play(t *testing.T, name, text string, run func(line string) string) string {
	var all strings.Builder
	for i, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		if i > 0 {
			all.WriteString("\n")
		}
		commands, want, _ := strings.Cut(block+"\n", "----\n")
		var got strings.Builder
		for line := range strings.Lines(commands) {
			line = strings.TrimRight(line, "\n")
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if out := run(line); out != "" {
				got.WriteString(strings.TrimRight(out, "\n") + "\n")
			}
		}
		all.WriteString(commands)
		if got.Len() > 0 || strings.Contains(block+"\n", "----\n") {
			all.WriteString("----\n" + got.String())
		}
		if got.String() != want && !*rewrite {
			t.Errorf("%s:\n%s---- got\n%s---- want\n%s", name, commands, got.String(), want)
		}
	}
	return all.String()
}

func write(t *testing.T, file, was, is string) {
	if *rewrite && is != was {
		if err := os.WriteFile(file, []byte(is), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
