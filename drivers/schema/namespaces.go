package schema

import "github.com/proffer/proffer/structs"

// Namespaces are those of the kernel that a task has for itself or shares, as its config says.
type Namespaces struct {
	PID, IPC string
	Shm      structs.Bytes // size of /dev/shm
}

// Namespaces reads them. With the IPC namespace of the node comes its /dev/shm.
func (b *Block) Namespaces() (n Namespaces) {
	modes := []string{structs.NamespacePrivate, structs.NamespaceAlloc, structs.NamespaceHost}
	n.PID, n.IPC, n.Shm = b.OneOf(structs.PIDModeKey, modes...), b.OneOf(structs.IPCModeKey, modes...), b.Size(structs.ShmSizeKey)
	for key, mode := range map[string]string{structs.PIDModeKey: n.PID, structs.IPCModeKey: n.IPC} {
		if Refers(mode) { // the node prepares it before it knows what references are
			b.Problem(key, "it cannot have references")
		}
	}
	switch {
	case n.IPC == structs.NamespaceHost && b.Has(structs.ShmSizeKey):
		b.Problem(structs.ShmSizeKey, `with ipc_mode = "host" the task has the /dev/shm of the node, which has a size of its own`)
	case n.Shm == 0:
		n.Shm = structs.DefaultShmSize
	case n.Shm < 1<<16:
		b.Problem(structs.ShmSizeKey, "%s is less than 64KiB", n.Shm).Advise("a bare number is bytes")
	}
	return n
}

// OwnPID reports whether the task has processes of its own.
func (n Namespaces) OwnPID() bool {
	return n.PID != structs.NamespaceAlloc && n.PID != structs.NamespaceHost
}

// OwnIPC reports whether it has shared memory of its own.
func (n Namespaces) OwnIPC() bool {
	return n.IPC != structs.NamespaceAlloc && n.IPC != structs.NamespaceHost
}
