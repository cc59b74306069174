package structs

import (
	"fmt"
	"testing"
)

// Secrets of a volume that is borrowed are for one call each, and no message shows them.
func TestSecretsOfCalls(t *testing.T) {
	c := &CSIVolume{Secrets: Secrets{"stage/key": "1", "stage/a/b": "2", "publish/key": "3", "key": "4"}}
	for call, want := range map[string]string{StageCall: "map[a/b:2 key:1]", PublishCall: "map[key:3]", ControllerCall: "map[]"} {
		c.Borrowed = true
		if got := fmt.Sprint(map[string]string(c.SecretsOf(call))); got != want {
			t.Errorf("%s is given %s, want %s", call, got, want)
		}
		c.Borrowed = false
		if got := c.SecretsOf(call); len(got) != 4 || got.String() != "4 secrets" {
			t.Errorf("of one that is registered, %s is given %s", call, got)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v", ImageMount{Auth: &ImageLogin{"", "me", "hunter2"}}.Auth, &ImageLogin{"", "me", "hunter2"}, &ImageLogin{"", "me", "hunter2"}); got != "a login a login a login" {
		t.Errorf("a login is shown as %s", got)
	}
}
