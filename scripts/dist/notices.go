package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// notices returns the licences of what is linked into the program for a target: Go itself, and every module with its
// version, which is where its source is. Most of them ask for that in a binary release.
func notices(goos, goarch string) ([]byte, error) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=")
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list modules for %s/%s: %w", goos, goarch, err)
	}
	root, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	modules := slices.Compact(slices.Sorted(strings.Lines(string(listed))))
	modules = append([]string{"the Go programming language\t\t" + root}, modules...)
	var out bytes.Buffer
	fmt.Fprintln(&out, "Proffer is licensed as LICENSE says. Linked into the program are also:")
	for _, line := range modules {
		part := strings.Split(strings.TrimSpace(line), "\t")
		if len(part) != 3 {
			continue
		}
		texts, err := licences(part[2])
		if err != nil {
			return nil, err
		}
		if len(texts) == 0 {
			return nil, fmt.Errorf("%s has no licence in %s: it cannot be part of a release", part[0], part[2])
		}
		fmt.Fprintf(&out, "\n%s\n%s %s\n%[1]s\n", strings.Repeat("=", 100), part[0], part[1])
		for _, path := range texts {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&out, "\n%s\n", bytes.TrimSpace(text))
		}
	}
	return out.Bytes(), nil
}

// licences lists the files of a module that say under which terms it may be passed on.
func licences(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		for _, start := range []string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"} {
			if strings.HasPrefix(name, start) && e.Type().IsRegular() && !strings.HasSuffix(name, ".GO") {
				paths = append(paths, filepath.Join(dir, e.Name()))
				break
			}
		}
	}
	return paths, nil
}
