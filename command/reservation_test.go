package command

import (
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

func TestPointInTime(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]structs.Time{
		"":                     0,
		"2h":                   structs.At(now.Add(2 * time.Hour)),
		"2031-01-01T00:00:00Z": structs.At(time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)),
	} {
		if got, err := pointInTime(text, now); got != want || err != nil {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
	if _, err := pointInTime("tomorrow", now); err == nil {
		t.Error("tomorrow is a time")
	}
}
