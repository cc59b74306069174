package config

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

// Whatever a configuration file holds, it is refused with its problems, or taken.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte(`{"server": {"enabled": true}, "client": null}`))
	f.Add([]byte("server { enabled = true }\nclient { reserved { cpu = 1e99 } dynamic_ports = \"9-1\" }"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if bytes.Contains(src, []byte("{{")) || bytes.Contains(src, []byte("_file")) {
			return // it asks the machine
		}
		c, s := new(Config), &Sources{Values: spec.Positions{}}
		if err := spec.Decode("x", src, c, s.Values); err != nil {
			if structs.KindOf(err) != structs.Invalid || err.Error() == "" {
				t.Fatal(err)
			}
			return
		}
		delete(s.Values, "")
		if err := c.Finish(s); err != nil && structs.KindOf(err) != structs.Invalid {
			t.Fatal(err)
		}
	})
}
