//go:build !linux

package images

import "github.com/proffer/proffer/structs"

// Store needs Linux.
type Store struct{}

// Open says so.
func Open(dir string, opts Options) (*Store, error) {
	return nil, structs.Errorf(structs.Unavailable, "images in "+dir, "they need Linux")
}

// Close does nothing.
func (s *Store) Close() error { return nil }
