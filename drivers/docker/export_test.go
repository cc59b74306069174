package docker

import "github.com/proffer/proffer/drivers"

// Blind makes a task one whose layer cannot be seen from here.
func Blind(t drivers.Task) {
	t.(*task).written = written{asked: true}
}
