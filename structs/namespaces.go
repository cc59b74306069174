package structs

// Keys of a task's config that say with whom it shares namespaces of the kernel, for the drivers exec and oci.
const (
	PIDModeKey = "pid_mode" // processes
	IPCModeKey = "ipc_mode" // shared memory, semaphores and message queues, with /dev/shm
	ShmSizeKey = "shm_size" // of /dev/shm
)

// What the first two may say.
const (
	NamespacePrivate = "private" // the default: the task has its own
	NamespaceAlloc   = "alloc"   // those of its allocation, which it shares with all tasks there that say so, too
	NamespaceHost    = "host"    // those of the node
)

// DefaultShmSize is the size of a /dev/shm that says none.
const DefaultShmSize = 64 << 20

// SharesInAlloc reports whether a task shares the namespace of a key with tasks of its allocation.
func (t *Task) SharesInAlloc(key string) bool {
	mode, _ := t.Config[key].(string)
	return mode == NamespaceAlloc && t.Driver != "docker"
}
