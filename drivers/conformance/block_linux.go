package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
)

// block: a volume that is a block device is where Devices says, as whoever the task is; who is to read only does not write, and another task
// sees nothing of it.
func block(s *suite) {
	image, at := filepath.Join(s.dir, "image"), filepath.Join(s.dir, "device")
	err := os.WriteFile(image, make([]byte, 1<<20), 0o600)
	if err == nil {
		err = os.WriteFile(at, nil, 0o600)
	}
	if err != nil {
		s.Fatal(err)
	}
	loop, detach, err := loopDevice(image)
	if err != nil {
		s.Skipf("there are no loop devices here: %v", err)
	}
	s.Cleanup(func() { // after those of the tasks, which are added later
		unix.Unmount(at, 0)
		if err := detach(); err != nil {
			s.Error(err)
		}
	})
	if err := unix.Mount(loop, at, "", unix.MS_BIND, ""); err != nil { // as plugins publish it
		s.Fatal(err)
	}
	run := func(devices []drivers.Device, command string) (int, string) {
		s.Helper()
		spec := s.spec(Script{Forever: true})
		spec.Devices = devices
		task := s.start(spec)
		var out bytes.Buffer
		exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", command}, Stdout: &out, Stderr: &out})
		if err != nil {
			s.Fatalf("%s: %v", command, err)
		}
		return exit.Code, out.String()
	}
	of := func(perms string) []drivers.Device {
		return []drivers.Device{{Host: at, Path: "/dev/store/disk", Perms: perms, Volume: "store"}}
	}
	if code, out := run(of("rw"), "test -b /dev/store/disk && echo written | dd of=/dev/store/disk conv=notrunc,fsync 2>/dev/null && head -c 7 /dev/store/disk"); code != 0 || out != "written" {
		s.Errorf("%d, %q", code, out)
	}
	if raw, err := os.ReadFile(loop); err != nil || !bytes.HasPrefix(raw, []byte("written\n")) {
		s.Errorf("on the device: %.20q, %v", raw, err)
	}
	if s.d.Name() != "exec" { // which is given none to read only
		if code, out := run(of("r"), "head -c 7 /dev/store/disk && ! (echo other | dd of=/dev/store/disk conv=notrunc 2>/dev/null)"); code != 0 || out != "written" {
			s.Errorf("to read only: %d, %q", code, out)
		}
	}
	if code, out := run(nil, "test ! -e /dev/store"); code != 0 {
		s.Errorf("another task sees it: %d, %q", code, out)
	}
}

// loopDevice makes a block device of a file (loop(4)).
func loopDevice(file string) (device string, detach func() error, err error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer control.Close()
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer backing.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		dev, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), os.O_RDWR, 0)
		if err != nil {
			return "", nil, err
		}
		switch err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_FD, int(backing.Fd())); err {
		case nil:
			return dev.Name(), func() error {
				defer dev.Close()
				return os.NewSyscallError("LOOP_CLR_FD", unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0))
			}, nil
		case unix.EBUSY: // somebody else took it meanwhile
			dev.Close()
		default:
			dev.Close()
			return "", nil, os.NewSyscallError("LOOP_SET_FD", err)
		}
	}
}
