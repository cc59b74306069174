// Command dist makes the release archives in dist/, and SHA256SUMS beside them. The same commit and the same Go give the
// same bytes: no path, no time of the build and no owner goes in.
package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// targets are what a release is for. Linux is complete; darwin runs agents in development mode; windows has the CLI.
var targets = []struct{ os, arch string }{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"},
}

func main() {
	if err := dist("dist"); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func dist(dir string) error {
	version, err := output("git", "describe", "--tags", "--always", "--dirty")
	if err != nil {
		return err
	}
	stamp, err := output("git", "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	var sums strings.Builder
	for _, t := range targets {
		name := fmt.Sprintf("proffer_%s_%s_%s", version, t.os, t.arch)
		files, err := build(dir, t.os, t.arch, version)
		if err != nil {
			return err
		}
		archive, write := filepath.Join(dir, name+".tar.gz"), writeTar
		if t.os == "windows" {
			archive, write = filepath.Join(dir, name+".zip"), writeZip
		}
		if err := create(archive, func(w io.Writer) error { return write(w, name, files, time.Unix(seconds, 0).UTC()) }); err != nil {
			return err
		}
		for _, f := range files {
			if filepath.Dir(f.path) == dir {
				if err := os.Remove(f.path); err != nil {
					return err
				}
			}
		}
		sum, err := sha256Of(archive)
		if err != nil {
			return err
		}
		fmt.Printf("%s  %s\n", sum, archive)
		fmt.Fprintf(&sums, "%s  %s\n", sum, filepath.Base(archive))
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

// file is what goes into an archive.
type file struct {
	name, path string
	mode       int64
}

// build compiles for a target. What is in dir is for the caller to remove.
func build(dir, goos, goarch, version string) ([]file, error) {
	name := "proffer"
	if goos == "windows" {
		name += ".exe"
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", path, ".")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", goos, goarch, err)
	}
	terms, err := notices(goos, goarch)
	if err != nil {
		return nil, err
	}
	noticesPath := filepath.Join(dir, "NOTICES.txt")
	if err := os.WriteFile(noticesPath, terms, 0o644); err != nil {
		return nil, err
	}
	return []file{
		{name, path, 0o755}, {"LICENSE", "LICENSE", 0o644}, {"NOTICES.txt", noticesPath, 0o644}, {"README.md", "README.md", 0o644},
		{"CHANGELOG.md", "CHANGELOG.md", 0o644},
	}, nil
}

func writeTar(w io.Writer, folder string, files []file, at time.Time) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range files {
		b, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: folder + "/" + f.name, Mode: f.mode, Size: int64(len(b)), ModTime: at, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(b); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func writeZip(w io.Writer, folder string, files []file, at time.Time) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		b, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: folder + "/" + f.name, Method: zip.Deflate, Modified: at}
		h.SetMode(os.FileMode(f.mode))
		part, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := part.Write(b); err != nil {
			return err
		}
	}
	return z.Close()
}

func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func sha256Of(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", errors.Join(err, f.Close())
	}
	return fmt.Sprintf("%x", h.Sum(nil)), f.Close()
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
