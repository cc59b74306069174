package volumes

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// shared says why mounts below a folder cannot reach whoever has it mounted with a propagation: that is for the mount it is in to say.
func shared(object, folder string, spread structs.Propagation) error {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, folder, 0, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
		err = unix.ENOTSUP
	}
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "find the mount of %s: %w", folder, err)
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "find the mount of %s: %w", folder, err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text()) // id parent device root point options [shared:N] [master:N] - …
		if len(words) < 7 || words[0] != strconv.FormatUint(st.Mnt_id, 10) {
			continue
		}
		for _, tag := range words[6:] {
			switch {
			case strings.HasPrefix(tag, "shared:"), strings.HasPrefix(tag, "master:") && spread == structs.PropagationHostToTask:
				return nil
			case tag == "-":
				return structs.Errorf(structs.Unavailable, object, "%s is in the mount %s, which is not shared: %s cannot be", folder, words[4], spread).
					Advise("run mount --make-shared %s on the node", words[4])
			}
		}
	}
	return structs.Errorf(structs.Unavailable, object, "the mount of %s is not known", folder)
}
