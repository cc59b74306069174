package docker

import "github.com/proffer/proffer/drivers"

// Blind makes a task one whose layer cannot be seen from here.
func Blind(t drivers.Task) {
	t.(*task).written = written{asked: true}
}

// Waiting returns how many wait for the pulls of images.
func Waiting(d *Driver) (n int) {
	d.images.mu.Lock()
	defer d.images.mu.Unlock()
	for _, p := range d.images.pulls {
		n += len(p.waiting)
	}
	return n
}
