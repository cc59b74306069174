package main

import (
	"os"
	"strings"
	"testing"
)

// Every module that is linked has its licence in the release.
func TestNotices(t *testing.T) {
	t.Chdir("../..")
	got, err := notices("linux", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"github.com/hashicorp/raft v", "Mozilla Public License", "The Go Authors", "Permission is hereby granted"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the notices lack %q", want)
		}
	}
	empty := t.TempDir()
	if texts, err := licences(empty); err != nil || len(texts) != 0 {
		t.Errorf("a module without a licence has %v, %v", texts, err)
	}
	if err := os.WriteFile(empty+"/license_test.go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if texts, _ := licences(empty); len(texts) != 0 {
		t.Errorf("code counts as a licence: %v", texts)
	}
}
