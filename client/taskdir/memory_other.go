//go:build !linux

package taskdir

func (d Dir) inMemory(string) bool      { return true }
func (d Dir) keepInMemory(string) error { return nil }

// ForgetSecrets takes the secrets of a task out of memory.
func (d Dir) ForgetSecrets(string) {}

func (d Dir) forgetSecrets() {}
