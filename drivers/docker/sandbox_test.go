package docker

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// The program of a container that does nothing is one that the kernel takes, and it does nothing.
func TestPauseProgram(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		raw, err := pauseProgram(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(raw))
		if err != nil || f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || f.Entry != f.Progs[0].Vaddr+120 {
			t.Errorf("%s: %v %+v", arch, err, f)
		}
		archive, name, err := pauseArchive(arch)
		if err != nil || !strings.HasPrefix(name, "proffer-pause:") {
			t.Errorf("%s, %v", name, err)
		}
		var files []string
		for r := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, h.Name)
		}
		if strings.Join(files, " ") != "config.json layer.tar manifest.json" {
			t.Error(files)
		}
		if arch != runtime.GOARCH || runtime.GOOS != "linux" {
			continue
		}
		path := filepath.Join(t.TempDir(), "pause")
		if err := os.WriteFile(path, raw, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(syscall.SIGUSR1)
		if err := cmd.Wait(); err == nil || err.Error() != "signal: user defined signal 1" {
			t.Errorf("it ended with %v", err)
		}
	}
	if _, err := pauseProgram("riscv64"); err == nil {
		t.Error("an architecture without a program")
	}
}
