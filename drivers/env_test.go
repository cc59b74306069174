package drivers

import (
	"slices"
	"testing"
)

func TestOverlay(t *testing.T) {
	env := []string{"A=1", "B=2", "AB=3"}
	if got := Overlay(env, []string{"B=4=5", "C="}); !slices.Equal(got, []string{"A=1", "AB=3", "B=4=5", "C="}) {
		t.Errorf("%q", got)
	}
	if got := Overlay(env, nil); !slices.Equal(got, env) || !slices.Equal(env, []string{"A=1", "B=2", "AB=3"}) {
		t.Errorf("%q, %q", got, env)
	}
}
