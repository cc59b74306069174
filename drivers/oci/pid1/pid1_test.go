package pid1

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// The binaries in the tree were built from the source in the tree: whoever changes one runs go generate.
func TestTheBinariesBelongToTheSource(t *testing.T) {
	recorded, err := os.ReadFile("init.sum")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(recorded))
	for i, name := range []string{"src/init.c", "init_amd64", "init_arm64"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(content); i >= len(lines) || lines[i] != hex.EncodeToString(sum[:]) {
			t.Fatal("src/init.c or a binary was changed: run go generate in drivers/oci/pid1")
		}
	}
}
