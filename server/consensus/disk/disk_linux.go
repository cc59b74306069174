package disk

import (
	"errors"
	"os"
	"syscall"
)

// syncData flushes contents and size. A segment is written out in full before it is used, so that this needs no
// metadata: one flush of the device.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func reserve(f *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return nil
		default:
			return err
		}
	}
}

func isQuota(err error) bool { return errors.Is(err, syscall.EDQUOT) }
