package schema_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/drivers/schema"
)

// read asks for one setting of each kind.
func read(raw map[string]any) (got string, err error) {
	b := schema.Read("task.config", raw)
	got = fmt.Sprint(b.Required("image", `image = "x"`), b.OneOf("mode", "bridge", "host"), b.Bool("init"), b.Whole("pids", 1, 100, -1),
		b.Size("shm"), b.Duration("grace"), b.Texts("args"), b.TextMap("labels"))
	for _, m := range b.Blocks("mount") {
		got += m.Text("target")
		m.Close("a mount")
	}
	return got, b.Err("the driver")
}

func TestReads(t *testing.T) {
	got, err := read(map[string]any{"image": "busybox", "mode": "host", "init": true, "pids": 5.0, "shm": "1MiB", "grace": "30s",
		"args": []any{"a", "b"}, "labels": []any{map[string]any{"a": "b", "n": int64(7)}},
		"mount": []any{map[string]any{"target": "/x"}, map[string]any{"target": "/y"}}})
	if want := "busyboxhosttrue 5 1MiB 30s [a b] map[a:b n:7]/x/y"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if got, err := read(map[string]any{"image": "x", "mode": "${meta.mode}"}); err != nil || !strings.Contains(got, "${meta.mode}") {
		t.Errorf("a reference: %q, %v", got, err)
	}
}

func TestSaysAllThatIsWrong(t *testing.T) {
	_, err := read(map[string]any{"imag": "x", "mode": "brige", "init": "yes", "pids": 101, "shm": "big", "grace": "-1s", "args": "a",
		"labels": map[string]any{"a": []any{}}, "mount": []any{map[string]any{"tarjet": "/x"}, "y"}})
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{"task.config.image: it is missing", `did you mean "image"?`, `did you mean "bridge"?`,
		"task.config.init: it must be true or false", "task.config.pids: it must be a whole number from 1 to 100, not 101",
		"task.config.shm", "task.config.grace", "task.config.args: it must be a list", "task.config.labels.a",
		"task.config.mount[0].tarjet: a mount has no such setting", "task.config.mount[1]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
	if lines := strings.Split(err.Error(), "\n"); slices.Contains(lines, "") {
		t.Errorf("an empty line:\n%v", err)
	}
}
