package simulate

import (
	"flag"
	"os"
	"testing"
)

// TestMain keeps rapid from writing files into the source tree; the seed that it prints reproduces a failure.
func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "250")
	flag.Parse()
	_ = flag.Set("rapid.nofailfile", "true")
	os.Exit(m.Run())
}
