//go:build linux

package images

// WithStep returns options with a seam before each change of the disk.
func WithStep(o Options, step func(what string) error) Options {
	o.step = step
	return o
}
