// The stage: what stands between the supervisor and a task's program. One resident copy (the starter) lives in a small
// mount namespace, takes starts over a socket and clones; each clone prepares its namespaces, forks the program, and
// stays as PID 1 of the task: it forwards signals, reaps, and writes down how the program ended.
//
// Freestanding: no libc, so that a clone touches a handful of pages. The protocol is in ../protocol.go. All numbers are
// of the machine's byte order. Descriptors of the starter: 3 the socket, 4 the slots file.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long u64;
typedef long i64;

#define NULL ((void *)0)

// ---- system calls

#if defined(__x86_64__)
enum {
	SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_close = 3, SYS_rt_sigaction = 13, SYS_rt_sigprocmask = 14,
	SYS_ioctl = 16, SYS_pread64 = 17, SYS_pwrite64 = 18, SYS_getpid = 39, SYS_socket = 41, SYS_sendto = 44,
	SYS_sendmsg = 46, SYS_recvmsg = 47, SYS_clone = 56, SYS_execve = 59, SYS_wait4 = 61, SYS_kill = 62, SYS_fcntl = 72, SYS_chdir = 80,
	SYS_fchown = 93, SYS_umask = 95, SYS_setsid = 112, SYS_setgroups = 116, SYS_setresuid = 117, SYS_setresgid = 119, SYS_capset = 126,
	SYS_rt_sigtimedwait = 128, SYS_pivot_root = 155, SYS_prctl = 157, SYS_mount = 165, SYS_umount2 = 166,
	SYS_sethostname = 170, SYS_timer_create = 222, SYS_timer_settime = 223, SYS_clock_gettime = 228,
	SYS_exit_group = 231, SYS_openat = 257, SYS_ppoll = 271, SYS_mkdirat = 258, SYS_mknodat = 259, SYS_symlinkat = 266,
	SYS_faccessat = 269, SYS_unshare = 272, SYS_accept4 = 288, SYS_dup3 = 292, SYS_prlimit64 = 302, SYS_setns = 308, SYS_fchmodat = 268, SYS_seccomp = 317,
};
#define REGISTER_CALL \
	register i64 r10 __asm__("r10") = d; \
	register i64 r8 __asm__("r8") = e; \
	register i64 r9 __asm__("r9") = f; \
	i64 ret; \
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) \
		: "rcx", "r11", "memory"); \
	return ret;
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tand $-16,%rsp\n\tcall starter\n\thlt\n");
#elif defined(__aarch64__)
enum {
	SYS_fcntl = 25, SYS_dup3 = 24, SYS_ioctl = 29, SYS_mknodat = 33, SYS_mkdirat = 34, SYS_symlinkat = 36,
	SYS_umount2 = 39, SYS_mount = 40, SYS_pivot_root = 41, SYS_faccessat = 48, SYS_chdir = 49, SYS_fchmodat = 53,
	SYS_fchown = 55, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_pread64 = 67, SYS_pwrite64 = 68, SYS_ppoll = 73,
	SYS_capset = 91, SYS_exit_group = 94, SYS_unshare = 97, SYS_timer_create = 107, SYS_timer_settime = 110,
	SYS_clock_gettime = 113, SYS_kill = 129, SYS_rt_sigaction = 134, SYS_rt_sigprocmask = 135,
	SYS_rt_sigtimedwait = 137, SYS_setresuid = 147, SYS_setresgid = 149, SYS_setsid = 157, SYS_setgroups = 159,
	SYS_sethostname = 161, SYS_umask = 166, SYS_prctl = 167, SYS_getpid = 172, SYS_socket = 198, SYS_sendto = 206,
	SYS_sendmsg = 211, SYS_recvmsg = 212, SYS_clone = 220, SYS_accept4 = 242, SYS_execve = 221, SYS_wait4 = 260, SYS_prlimit64 = 261, SYS_setns = 268, SYS_seccomp = 277,
};
#define REGISTER_CALL \
	register i64 x8 __asm__("x8") = n; \
	register i64 x0 __asm__("x0") = a; \
	register i64 x1 __asm__("x1") = b; \
	register i64 x2 __asm__("x2") = c; \
	register i64 x3 __asm__("x3") = d; \
	register i64 x4 __asm__("x4") = e; \
	register i64 x5 __asm__("x5") = f; \
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc"); \
	return x0;
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x30,#0\n\tbl starter\n\tbrk #0\n");
#else
#error "the stage is written for amd64 and arm64"
#endif

// The same number on every architecture.
enum { SYS_open_tree = 428, SYS_move_mount = 429, SYS_clone3 = 435, SYS_close_range = 436, SYS_mount_setattr = 442 };

static i64 call(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) { REGISTER_CALL }
#define C0(n) call(n, 0, 0, 0, 0, 0, 0)
#define C1(n, a) call(n, (i64)(a), 0, 0, 0, 0, 0)
#define C2(n, a, b) call(n, (i64)(a), (i64)(b), 0, 0, 0, 0)
#define C3(n, a, b, c) call(n, (i64)(a), (i64)(b), (i64)(c), 0, 0, 0)
#define C4(n, a, b, c, d) call(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), 0, 0)
#define C5(n, a, b, c, d, e) call(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), 0)
#define C6(n, a, b, c, d, e, f) call(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), (i64)(f))

void *memset(void *to, int v, u64 n) {
	for (u64 i = 0; i < n; i++) ((u8 *)to)[i] = (u8)v;
	return to;
}
void *memcpy(void *to, const void *from, u64 n) {
	for (u64 i = 0; i < n; i++) ((u8 *)to)[i] = ((const u8 *)from)[i];
	return to;
}
static u64 length(const char *s) {
	u64 n = 0;
	while (s[n]) n++;
	return n;
}

// ---- constants of the kernel

enum {
	EPERM = 1, ENOENT = 2, EINTR = 4, E2BIG = 7, ENOEXEC = 8, ECHILD = 10, EAGAIN = 11, EACCES = 13, EBUSY = 16, EEXIST = 17,
	ENOTDIR = 20, EINVAL = 22, EPIPE = 32,
	AT_FDCWD = -100, AT_EMPTY_PATH = 0x1000, AT_RECURSIVE = 0x8000,
	O_RDONLY = 0, O_RDWR = 2, O_CREAT = 0100, O_NOCTTY = 0400, O_CLOEXEC = 02000000,
	SIGKILL = 9, SIGALRM = 14, SIGCHLD = 17, SIGSTOP = 19, SIGCOMMAND = 63, SI_QUEUE = -1,
	WNOHANG = 1,
	MS_RDONLY = 1, MS_NOSUID = 2, MS_NODEV = 4, MS_NOEXEC = 8, MS_REMOUNT = 32, MS_BIND = 4096, MS_REC = 16384,
	MS_PRIVATE = 1 << 18, MNT_DETACH = 2,
	CLONE_NEWNS = 0x20000, CLONE_PARENT = 0x8000, CLONE_NEWUTS = 0x4000000, CLONE_NEWIPC = 0x8000000,
	CLONE_NEWPID = 0x20000000, CLONE_NEWNET = 0x40000000,
	PR_SET_PDEATHSIG = 1, PR_SET_DUMPABLE = 4, PR_SET_KEEPCAPS = 8, PR_SET_NAME = 15, PR_CAPBSET_DROP = 24,
	PR_SET_CHILD_SUBREAPER = 36, PR_SET_NO_NEW_PRIVS = 38, PR_CAP_AMBIENT = 47, PR_CAP_AMBIENT_RAISE = 2,
	S_IFCHR = 0020000, CAP_KILL = 5, CLOCK_BOOTTIME = 7, TIMER_ABSTIME = 1, F_DUPFD_CLOEXEC = 1030,
	TIOCSCTTY = 0x540E, TIOCSWINSZ = 0x5414, TIOCSPTLCK = 0x40045431, TIOCGPTPEER = 0x5441, FIONREAD = 0x541B, SIOCSIFFLAGS = 0x8914, IFF_UP = 1, IFF_RUNNING = 64,
	MOVE_MOUNT_F_EMPTY_PATH = 4, OPEN_TREE_CLONE = 1, OPEN_TREE_CLOEXEC = O_CLOEXEC,
};

struct mount_attr { u64 set, clear, propagation, userns; };
struct clone_args { u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; };
struct iovec { void *base; u64 len; };
struct msghdr { void *name; u32 namelen, pad; struct iovec *iov; u64 iovlen; void *control; u64 controllen; u32 flags, pad2; };
struct siginfo { i32 signo, err, code, pad; i32 pid; u32 uid; u64 value; u8 rest[96]; };
struct timespec { i64 sec, nsec; };

// ---- protocol, see protocol.go

enum { SOCKET = 3, SLOTS = 4, KEPT_STDOUT = 5, KEPT_STDERR = 6, KEPT_REPORT = 7, FIRST_FREE = 8, MAX_MESSAGE = 256 << 10, MAX_FDS = 48, MAX_STRINGS = 8192 };
enum { OP_SETUP = 1, OP_START = 2, OP_EXEC = 3 };
enum { FULL = 1, NETWORK = 2, FENCED = 4, SETIDS = 8, TTY = 16, ADOPT = 32, SHARED_PID = 64, SHARED_IPC = 128, HOLD = 256 };
enum { RUNNING = 1, ENDED = 2, BY_FENCE = 1, BY_COMMAND = 2 };

struct head {
	u32 op, flags, slot, uid;
	u64 seq, caps;
	u32 gid, groups, rlimits, args, env, covers, binds, joins;
	i32 in, out, err, keep_out, keep_err, report, cgroup, pidfd; // indexes of descriptors, -1: none
	i32 first_bind, first_join;
	u32 filter; // instructions of the program for system calls; 0: there is none
	i32 netns; // index of the descriptor of the network namespace to join, -1: none
	u32 rows, columns; // of a task's terminal; 0: nobody said so
	u64 spread; // one bit a bind: it and what is below it keep their propagation
	i32 pidns, ipcns; // indexes of descriptors of namespaces, with SHARED_PID and SHARED_IPC; -1: those of the host
};
struct rlimit { u64 resource, soft, hard; };
struct filter { u16 code; u8 jt, jf; u32 k; };
struct program { u16 len; struct filter *filter; };
struct record { u64 seq; i32 pid; u32 state, status, flags; u64 spare; };

static u8 message[MAX_MESSAGE] __attribute__((aligned(16)));
static char *strings[MAX_STRINGS + 4];
static int fds[MAX_FDS];
static int report_fd = -1;

// die reports a failed step as errno and text, and ends the process.
__attribute__((noreturn)) static void die(const char *step, const char *what, i64 err) {
	u8 text[4 + 512];
	u64 n = 4;
	i32 code = (i32)(err < 0 ? -err : err);
	memcpy(text, &code, 4);
	for (u64 i = 0; step[i] && n < sizeof text - 2; i++) text[n++] = (u8)step[i];
	text[n++] = 0;
	for (u64 i = 0; what[i] && n < sizeof text; i++) text[n++] = (u8)what[i];
	if (report_fd >= 0) C3(SYS_write, report_fd, text, n);
	for (;;) C1(SYS_exit_group, 125);
}
static void must(const char *step, const char *what, i64 result) {
	if (result < 0) die(step, what, result);
}

// ---- the starter's root

static void bind_tree(const char *from, const char *to) {
	i64 fd = C3(SYS_open_tree, AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	must("open_tree", from, fd);
	struct mount_attr attr = {MS_RDONLY | MS_NOSUID | MS_NODEV, 0, MS_PRIVATE, 0};
	must("mount_setattr", from, C5(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr));
	must("move_mount", from, C5(SYS_move_mount, fd, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH));
	C1(SYS_close, fd);
}

static void device(const char *path, u32 major, u32 minor) {
	must("mknod", path, C4(SYS_mknodat, AT_FDCWD, path, S_IFCHR | 0666, major << 8 | minor));
	must("chmod", path, C3(SYS_fchmodat, AT_FDCWD, path, 0666));
}

// make_root makes the root that every isolated task gets a copy of, and moves the starter into it. The plan is a list
// of strings: the folder to mount on, then "d" path, "f" path, "l" target path, "b" source path.
static void make_root(char *plan, char *end) {
	must("unshare", "", C1(SYS_unshare, CLONE_NEWNS));
	must("make mounts private", "/", C5(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	const char *root = plan;
	plan += length(plan) + 1;
	must("mount tmpfs", root, C5(SYS_mount, "proffer", root, "tmpfs", MS_NOSUID, "mode=0755,size=8m,nr_inodes=16k"));
	must("chdir", root, C1(SYS_chdir, root));
	while (plan < end) {
		char what = *plan, *a = plan + 2, *b = a + length(a) + 1;
		if (what == 'd') must("mkdir", a, C3(SYS_mkdirat, AT_FDCWD, a, 0755));
		if (what == 'f') {
			i64 fd = C4(SYS_openat, AT_FDCWD, a, O_CREAT | O_CLOEXEC, 0444);
			must("create", a, fd);
			C1(SYS_close, fd);
		}
		if (what == 'l') must("symlink", b, C3(SYS_symlinkat, a, AT_FDCWD, b));
		if (what == 'b') bind_tree(a, b);
		plan = what == 'l' || what == 'b' ? b + length(b) + 1 : b;
	}
	device("dev/null", 1, 3);
	device("dev/zero", 1, 5);
	device("dev/full", 1, 7);
	device("dev/random", 1, 8);
	device("dev/urandom", 1, 9);
	device("dev/tty", 5, 0);
	must("pivot_root", root, C2(SYS_pivot_root, ".", "."));
	must("detach the old root", "/", C2(SYS_umount2, ".", MNT_DETACH));
	must("chdir", "/", C1(SYS_chdir, "/"));
	must("remount", "/", C5(SYS_mount, NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL));
}

// ---- one task

static struct head *head;
static struct rlimit *rlimits;
static struct filter *filter;
static u32 *groups;
static char **argv, **envp, **covers, **binds; // binds: target paths, in the order of the descriptors
static char *cwd, *host, *file; // file: of the program, which argv may call something else

static int fd_of(i32 index) { return index < 0 ? -1 : fds[index]; }

// parse finds the parts of a message behind its head: rlimits, the filter, groups, then strings cwd, host, file, args, env, covers, binds.
static int parse(u64 size, u64 nfds) {
	head = (struct head *)message;
	if (size < sizeof *head || message[size - 1] != 0) return -EINVAL;
	u64 need = sizeof *head + head->rlimits * sizeof(struct rlimit) + head->filter * sizeof(struct filter) + head->groups * 4;
	u64 count = 3 + (u64)head->args + head->env + head->covers + head->binds;
	if (head->rlimits > 64 || head->filter > 4096 || head->groups > 65536 || need > size || count > MAX_STRINGS) return -E2BIG;
	if (head->binds + head->joins > nfds) return -EINVAL;
	rlimits = (struct rlimit *)(head + 1);
	filter = (struct filter *)(rlimits + head->rlimits);
	groups = (u32 *)(filter + head->filter);
	char *s = (char *)(groups + head->groups), *end = (char *)message + size;
	char **slot = strings;
	char **first[3] = {&cwd, &host, &file};
	for (int i = 0; i < 3; i++) {
		if (s >= end) return -EINVAL;
		*first[i] = s;
		s += length(s) + 1;
	}
	char ***lists[4] = {&argv, &envp, &covers, &binds};
	u32 counts[4] = {head->args, head->env, head->covers, head->binds};
	for (int list = 0; list < 4; list++) {
		*lists[list] = slot;
		for (u32 i = 0; i < counts[list]; i++) {
			if (s >= end) return -EINVAL;
			*slot++ = s;
			s += length(s) + 1;
		}
		*slot++ = NULL;
	}
	return 0;
}

static void write_record(u32 state, u32 status, u32 flags) {
	struct record r = {head->seq, (i32)C0(SYS_getpid), state, status, flags, 0};
	if (head->slot) C4(SYS_pwrite64, SLOTS, &r, sizeof r, (u64)head->slot * sizeof r);
}

static void join_cgroups(void) {
	for (u32 i = 0; i < head->joins; i++) {
		i64 err;
		do err = C3(SYS_write, fds[head->first_join + i], "0", 1); while (err == -EINTR);
		must("join a cgroup", "", err);
	}
}

static void read_only(const char *path) {
	if (C5(SYS_mount, path, path, NULL, MS_BIND | MS_REC, NULL) < 0) return; // this kernel does not have it
	must("make read-only", path, C5(SYS_mount, NULL, path, NULL,
		MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
}

static int rooted; // the root is a folder of the task's own

static void cover(const char *path) {
	i64 err = C5(SYS_mount, rooted ? "/dev/null" : "/.proffer/file", path, NULL, MS_BIND, NULL);
	if (err == -ENOTDIR && rooted) err = C5(SYS_mount, "none", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k");
	else if (err == -ENOTDIR) err = C5(SYS_mount, "/.proffer/folder", path, NULL, MS_BIND, NULL);
	if (err != -ENOENT && err != -ENOTDIR) must("cover", path, err);
}

// make_folders makes a folder of the root, with those above it, for something to be mounted on. All tasks that have no root of
// their own have the same one, and see it, too: empty, and for reading only.
static void make_folders(char *path) {
	if (!rooted) must("remount", "/", C5(SYS_mount, NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_NOSUID, NULL));
	for (char *p = path + 1;; p++) {
		char c = *p;
		if (c && c != '/') continue;
		*p = 0;
		i64 err = C3(SYS_mkdirat, AT_FDCWD, path, 0755);
		if (err != -EEXIST) must("make the folder", path, err);
		*p = c;
		if (!c) break;
	}
	if (!rooted) must("remount", "/", C5(SYS_mount, NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL));
}

static int is_dev(const char *path) { return path[0] == '/' && path[1] == 'd' && path[2] == 'e' && path[3] == 'v' && !path[4]; }

// place puts a detached mount at its target.
static void place(u32 i, u64 flags) {
	int fd = fds[head->first_bind + i];
	int spread = head->spread >> i & 1;
	struct mount_attr attr = {flags, 0, spread ? 0 : MS_PRIVATE, 0};
	must("mount_setattr", binds[i], C5(SYS_mount_setattr, fd, "", spread ? AT_EMPTY_PATH | AT_RECURSIVE : AT_EMPTY_PATH, &attr, sizeof attr));
	i64 err = C5(SYS_move_mount, fd, "", AT_FDCWD, binds[i], MOVE_MOUNT_F_EMPTY_PATH);
	if (err == -ENOENT) {
		make_folders(binds[i]);
		err = C5(SYS_move_mount, fd, "", AT_FDCWD, binds[i], MOVE_MOUNT_F_EMPTY_PATH);
	}
	must("move_mount", binds[i], err);
}

// change_root makes a detached mount the root, with the starter's /dev in it. Whatever links are in it, nothing that comes after
// resolves outside of it: the old root is gone.
static void change_root(int fd) {
	struct mount_attr attr = {MS_NOSUID | MS_NODEV, 0, MS_PRIVATE, 0};
	i64 dev = C3(SYS_open_tree, AT_FDCWD, "/dev", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	must("open_tree", "/dev", dev);
	must("mount_setattr", "/", C5(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr));
	must("move_mount", "/", C5(SYS_move_mount, fd, "", AT_FDCWD, "/mnt", MOVE_MOUNT_F_EMPTY_PATH));
	must("chdir", "/mnt", C1(SYS_chdir, "/mnt"));
	must("pivot_root", "/", C2(SYS_pivot_root, ".", "."));
	must("detach the old root", "/", C2(SYS_umount2, ".", MNT_DETACH));
	must("chdir", "/", C1(SYS_chdir, "/"));
	must("move_mount", "/dev", C5(SYS_move_mount, dev, "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH));
	C1(SYS_close, dev);
	rooted = 1;
}

// mounts makes what a task has of its own; the rest of its root came with the copy of the starter's namespace.
static void mounts(void) {
	u32 first = head->binds && length(binds[0]) == 1; // "/": the root
	if (first) change_root(fds[head->first_bind]);
	for (u32 i = first; i < head->binds; i++)
		if (is_dev(binds[i])) place(i, MS_RDONLY | MS_NOSUID | MS_NOEXEC); // of a task with devices of its own; others go onto it
	must("mount", "/dev/pts", C5(SYS_mount, "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		"newinstance,ptmxmode=0666,mode=0620,gid=5"));
	must("mount", "/dev/shm", C5(SYS_mount, "shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m"));
	for (u32 i = first; i < head->binds; i++)
		if (!is_dev(binds[i])) place(i, MS_NOSUID | MS_NODEV);
	for (u32 i = 0; i < head->covers; i++) cover(covers[i]);
}

// mount_proc shows the PID namespace of whoever calls it, and what of /proc is for a task to see.
static void mount_proc(void) {
	must("mount", "/proc", C5(SYS_mount, "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	// What anybody may read there and is the host's; the rest of what drivers/oci masks is root's.
	cover("/proc/keys");
	cover("/proc/interrupts");
	cover("/proc/latency_stats");
	cover("/proc/sched_debug");
	cover("/proc/acpi");
	cover("/proc/asound");
	cover("/proc/scsi");
	if (head->uid) return;
	// Files below /proc/sys obey the user id alone: root without any capability could write core_pattern.
	read_only("/proc/sys");
	read_only("/proc/sysrq-trigger");
	read_only("/proc/irq");
	read_only("/proc/bus");
	read_only("/proc/fs");
	cover("/proc/kcore");
	cover("/proc/timer_list");
	cover("/proc/timer_stats");
}

static void loopback_up(void) {
	struct { char name[16]; u16 flags; u8 rest[22]; } request = {"lo", IFF_UP | IFF_RUNNING, {0}};
	i64 s = C3(SYS_socket, 2, 2 | O_CLOEXEC, 0);
	must("socket", "lo", s);
	must("set up", "lo", C3(SYS_ioctl, s, SIOCSIFFLAGS, &request));
	C1(SYS_close, s);
}

static void set_caps(u64 effective, u64 inheritable) {
	struct { u32 version; i32 pid; } h = {0x20080522, 0};
	u32 d[6] = {(u32)effective, (u32)effective, (u32)inheritable, (u32)(effective >> 32), (u32)(effective >> 32), (u32)(inheritable >> 32)};
	must("capset", "", C2(SYS_capset, &h, d));
}

static int master = -1, slave = -1; // of the terminal; the master is open in who keeps it, the slave in the program

// open_terminal makes a terminal of the task's own /dev/pts, so that the program can name it. That of a task is kept by this process, as the
// pipes of others are, and so is that of a command that nobody has to hold; of another command's the master is sent over the socket that came
// as stdin, and the byte that comes back says that it has its size.
static void open_terminal(void) {
	int sock = fd_of(head->in), unlocked = 0;
	master = (int)C3(SYS_openat, AT_FDCWD, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	must("open a terminal", "/dev/ptmx", master);
	must("unlock the terminal", "", C3(SYS_ioctl, master, TIOCSPTLCK, &unlocked));
	slave = (int)C3(SYS_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	must("open the terminal's other end", "", slave);
	if (head->flags & SETIDS) must("give the terminal away", "", C3(SYS_fchown, slave, head->uid, -1));
	if (head->keep_out >= 0) {
		struct { u16 rows, columns, x, y; } size = {(u16)head->rows, (u16)head->columns, 0, 0};
		if (size.rows && size.columns) must("set the terminal's size", "", C3(SYS_ioctl, master, TIOCSWINSZ, &size));
		return;
	}
	u8 byte = 0;
	struct { u64 len; i32 level, type, fd, pad; } rights = {20, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */, master, 0};
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {NULL, 0, 0, &iov, 1, &rights, sizeof rights, 0, 0};
	must("pass the terminal on", "", C3(SYS_sendmsg, sock, &msg, 0x4000 /* MSG_NOSIGNAL */));
	C1(SYS_close, master);
	i64 n = C3(SYS_read, sock, &byte, 1);
	must("wait for the terminal", "", n > 0 ? 0 : n < 0 ? n : -EPIPE);
}

static void execute(const char *path, i64 *best) {
	i64 err = C3(SYS_execve, path, argv, envp);
	if (err == -ENOENT && C3(SYS_faccessat, AT_FDCWD, path, 0) == 0) die("interpreter", path, err);
	if (*best == -ENOENT || err == -EACCES) *best = (err == -ENOTDIR ? -ENOENT : err);
}

// program becomes the task's program. It does not return.
__attribute__((noreturn)) static void program(void) {
	C0(SYS_setsid);
	if (head->flags & SHARED_PID && head->op == OP_START) mount_proc(); // the process that holds this one is in no such namespace
	int stdio[3] = {fd_of(head->in), fd_of(head->out), fd_of(head->err)};
	for (int i = 0; i < 3; i++)
		if (slave >= 0 || stdio[i] >= 0) must("dup", "", C3(SYS_dup3, slave >= 0 ? slave : stdio[i], i, 0));
	if (slave >= 0) must("set the terminal", "", C3(SYS_ioctl, 0, TIOCSCTTY, 0));
	for (u32 i = 0; i < head->rlimits; i++)
		must("setrlimit", "", C4(SYS_prlimit64, 0, rlimits[i].resource, &rlimits[i].soft, NULL));
	int alone = head->flags & FULL && !(head->flags & SHARED_PID); // with the process that holds it, the kernel ends its namespace
	if (!alone) C2(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
	if (head->flags & FULL) {
		for (u64 cap = 0; cap < 64; cap++) {
			if (head->caps >> cap & 1) continue;
			i64 err = C2(SYS_prctl, PR_CAPBSET_DROP, cap);
			if (err == -EINVAL) break; // there are no more
			must("drop a capability", "", err);
		}
	}
	if (head->flags & SETIDS) {
		must("setgroups", "", C2(SYS_setgroups, head->groups, groups));
		must("setgid", "", C3(SYS_setresgid, head->gid, head->gid, head->gid));
		if (head->flags & FULL && head->caps) C2(SYS_prctl, PR_SET_KEEPCAPS, 1);
		must("setuid", "", C3(SYS_setresuid, head->uid, head->uid, head->uid));
	}
	if (head->flags & FULL) {
		set_caps(head->caps, head->caps);
		for (u64 cap = 0; cap < 64; cap++)
			if (head->caps >> cap & 1) must("raise a capability", "", C4(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0));
		must("no_new_privs", "", C5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	}
	if (!alone) C2(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL); // a change of user cleared it
	must("change to the folder", cwd, C1(SYS_chdir, cwd)); // as the user, who must be allowed there
	C1(SYS_umask, 022);
	u64 none = 0;
	C4(SYS_rt_sigprocmask, 2, &none, NULL, 8);

	// Whatever happens, the program gets 0, 1 and 2 alone.
	must("close the rest", "", C3(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */));

	if (head->filter) { // the last thing: it need not allow any of the above
		struct program prog = {(u16)head->filter, filter};
		must("seccomp", "", C3(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 4 /* SECCOMP_FILTER_FLAG_SPEC_ALLOW */, &prog));
	}

	i64 err = -ENOENT;
	int slash = 0;
	for (char *p = file; *p; p++) slash |= *p == '/';
	if (slash) {
		execute(file, &err);
		die("exec", file, err);
	}
	const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	for (char **e = envp; *e; e++)
		if ((*e)[0] == 'P' && (*e)[1] == 'A' && (*e)[2] == 'T' && (*e)[3] == 'H' && (*e)[4] == '=') path = *e + 5;
	static char full[4096];
	u64 name = length(file);
	while (*path) {
		u64 n = 0;
		while (*path && *path != ':') {
			if (n < sizeof full) full[n] = *path;
			n++, path++;
		}
		if (*path) path++;
		if (n == 0 || n + name + 2 > sizeof full) continue;
		full[n] = '/';
		memcpy(full + n + 1, file, name + 1);
		execute(full, &err);
	}
	die("exec", file, err);
}

// subreaper reports whether what a program leaves behind comes to this process. In a PID namespace that tasks share it comes to the first process of
// that, and the supervisor ends it by the task's control group.
static int subreaper(void) {
	return !(head->flags & FULL) || (head->flags & SHARED_PID && head->pidns < 0 && head->op == OP_START);
}

// kill_descendants kills and reaps until there is no child left. Orphans come to us, because we are their subreaper.
static void kill_descendants(void) {
	static char list[4096];
	for (;;) {
		i64 fd = C3(SYS_openat, AT_FDCWD, "/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
		i64 n = fd < 0 ? fd : C3(SYS_read, fd, list, sizeof list);
		if (fd >= 0) C1(SYS_close, fd);
		i32 pid = 0;
		for (i64 i = 0; i < n; i++) {
			if (list[i] >= '0' && list[i] <= '9') pid = pid * 10 + (list[i] - '0');
			else if (pid) {
				C2(SYS_kill, pid, SIGKILL);
				pid = 0;
			}
		}
		i64 got = C4(SYS_wait4, -1, NULL, 0, NULL); // blocks for one, so this does not spin
		while (got > 0) got = C4(SYS_wait4, -1, NULL, WNOHANG, NULL);
		if (got == -ECHILD) return;
	}
}

// unread says how many bytes of the task's output nobody has taken out of a pipe.
static i32 unread(int fd) {
	i32 n = 0;
	return C3(SYS_ioctl, fd, FIONREAD, &n) < 0 ? 0 : n;
}

// written_on reports whether somebody still has the writing end of a pipe whose reading end is kept, or the terminal.
static int written_on(void) {
	struct { i32 fd; u16 events, revents; } kept[2] = {{KEPT_STDOUT, 0, 0}, {KEPT_STDERR, 0, 0}};
	struct timespec now = {0, 0};
	C5(SYS_ppoll, kept, 2, &now, NULL, 8);
	return !(kept[0].revents & 0x10 /* POLLHUP */) || (!(head->flags & TTY) && !(kept[1].revents & 0x10));
}

// outlast keeps what the task wrote last until a supervisor has it: with the last reading end the pipe's content goes. The
// supervisor, while there is one, takes it in a moment; otherwise the next one does, or says that nobody wants it. What a command in a full task
// left running may write on without end, and only the supervisor can end that, once this process is gone: a second has to do.
static void outlast(void) {
	if (!unread(KEPT_STDOUT) && !unread(KEPT_STDERR)) return;
	int entered = head->op == OP_EXEC || head->flags & SHARED_PID; // this process is no PID 1: for it, -1 are all processes of the host
	if (head->flags & FULL && !entered) { // the end of this process, which kills the others, may be far
		C2(SYS_kill, -1, SIGKILL);
		while (C4(SYS_wait4, -1, NULL, 0, NULL) != -ECHILD) {}
	}
	struct timespec pause = {0, 50 * 1000};
	i64 left = 1000 * 1000 * 1000;
	while (unread(KEPT_STDOUT) || unread(KEPT_STDERR)) {
		if (entered && head->flags & FULL && left < 0 && written_on()) return;
		left -= pause.nsec;
		u64 command = 1UL << (SIGCOMMAND - 1);
		struct siginfo info;
		i64 sig = C4(SYS_rt_sigtimedwait, &command, &info, &pause, 8);
		if (sig == SIGCOMMAND && info.code == SI_QUEUE && info.value == 0) return;
		if (sig < 0 && pause.nsec < 50 * 1000 * 1000) pause.nsec *= 2;
	}
}

// finish ends the task (or command) and this process. A child that still runs is killed.
__attribute__((noreturn)) static void finish(i32 child, u32 status, u32 flags) {
	if (subreaper()) kill_descendants();
	else if (flags && !(head->flags & HOLD)) { // of a task, the kernel kills and reaps everything before this ends
		if (head->op == OP_EXEC || head->flags & SHARED_PID) C2(SYS_kill, -child, SIGKILL); // its session's first process group
		C2(SYS_kill, child, SIGKILL);
		C4(SYS_wait4, child, NULL, 0, NULL);
	}
	write_record(ENDED, status, flags);
	if (head->keep_out >= 0) outlast();
	for (;;) C1(SYS_exit_group, (status & 127) ? 128 + (status & 127) : status >> 8 & 255);
}

// fence_passed reads the lease's end and sets the timer for it when it is still to come.
static int fence_passed(i32 timer) {
	u64 until = 0;
	struct timespec now;
	C4(SYS_pread64, SLOTS, &until, sizeof until, 0);
	C2(SYS_clock_gettime, CLOCK_BOOTTIME, &now);
	if ((u64)now.sec * 1000000000UL + (u64)now.nsec >= until) return 1;
	struct { struct timespec interval, value; } at = {{0, 0}, {(i64)(until / 1000000000UL), (i64)(until % 1000000000UL)}};
	C4(SYS_timer_settime, timer, TIMER_ABSTIME, &at, NULL);
	return 0;
}

// take_terminal accepts what a runtime has sent to the socket that is kept as stdout: the master of the terminal that it made for its container. It
// takes the socket's place.
static void take_terminal(void) {
	static u8 name[4096];
	struct { u64 len; i32 level, type, fd, pad; } rights = {0, 0, 0, -1, 0};
	struct iovec iov = {name, sizeof name};
	struct msghdr msg = {NULL, 0, 0, &iov, 1, &rights, sizeof rights, 0, 0};
	i64 conn = C4(SYS_accept4, KEPT_STDOUT, NULL, NULL, O_CLOEXEC);
	i64 err = conn < 0 ? conn : C3(SYS_recvmsg, conn, &msg, 0x40000000 /* MSG_CMSG_CLOEXEC */);
	if (err >= 0) err = rights.fd < 0 ? -EPIPE : C3(SYS_dup3, rights.fd, KEPT_STDOUT, O_CLOEXEC);
	if (err < 0) {
		kill_descendants();
		die("adopt", "its terminal", err);
	}
	C1(SYS_close, rights.fd);
	C1(SYS_close, conn);
}

// adopt takes over what a program that has ended left behind: a runtime makes a container and leaves its first process, whose
// number is in a file, and which comes to us once all between it and us have ended. Until then a failure is one of the start. 0: not
// yet; the next SIGCHLD tells.
static i32 adopt(i32 child) {
	static i32 heir;
	u32 status = 0;
	if (!heir) {
		if (C4(SYS_wait4, child, &status, WNOHANG, NULL) != child) return 0;
		if (status) {
			kill_descendants();
			die("runtime", "", (status & 127) ? 128 + (status & 127) : status >> 8 & 255);
		}
		char text[16];
		i64 fd = C3(SYS_openat, AT_FDCWD, host, O_RDONLY | O_CLOEXEC);
		i64 n = fd < 0 ? fd : C3(SYS_read, fd, text, sizeof text);
		if (fd >= 0) C1(SYS_close, fd);
		for (i64 i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++) heir = heir * 10 + (text[i] - '0');
		if (!heir) {
			kill_descendants();
			die("adopt", host, n < 0 ? n : EINVAL);
		}
		if (head->flags & TTY) take_terminal();
	}
	for (;;) {
		i64 got = C4(SYS_wait4, heir, &status, WNOHANG, NULL);
		if (got == -ECHILD) { // not ours yet; those between end
			got = C4(SYS_wait4, -1, &status, WNOHANG, NULL);
			if (!got) return 0;
			if (got == -ECHILD) die("adopt", "it left no process", ECHILD);
			if (got != heir) continue;
		}
		C1(SYS_close, report_fd);
		report_fd = -1;
		if (got == heir) finish(heir, status, 0);
		return heir;
	}
}

// hold waits for the program: the rest of this process's life.
__attribute__((noreturn)) static void hold(i32 child) {
	i32 timer = 0, making = head->flags & ADOPT;
	u64 all = ~0UL;
	if (head->flags & FENCED) {
		i64 err = C3(SYS_timer_create, CLOCK_BOOTTIME, NULL, &timer);
		if (err < 0 || fence_passed(timer)) finish(child, SIGKILL, BY_FENCE);
	}
	for (;;) {
		struct siginfo info;
		i64 sig = C4(SYS_rt_sigtimedwait, &all, &info, NULL, 8);
		if (sig == SIGCHLD) {
			u32 status = 0;
			i64 got;
			if (making) { // others that have ended wait: one of them may be the heir
				i32 heir = adopt(child);
				if (!heir) continue;
				child = heir, making = 0;
			}
			while ((got = C4(SYS_wait4, -1, &status, WNOHANG, NULL)) > 0)
				if (got == child) finish(child, status, 0);
		} else if (sig == SIGALRM && info.code == -2 /* SI_TIMER */) {
			if (head->flags & FENCED && fence_passed(timer)) finish(child, SIGKILL, BY_FENCE);
		} else if (sig == SIGCOMMAND && info.code == SI_QUEUE && info.value == 0) {
			finish(child, SIGKILL, BY_COMMAND);
		} else if (head->flags & HOLD) { // there is no program that a signal could be for
		} else if (sig == SIGCOMMAND && info.code == SI_QUEUE) {
			C2(SYS_kill, child, info.value);
		} else if (sig > 0) {
			C2(SYS_kill, child, sig);
		}
	}
}

// supervised reports whether somebody still waits for the start. A supervisor that died told nobody of it, and the next one,
// which ends what the slots show as running, may have looked before this one was there.
static int supervised(void) {
	struct { i32 fd; u16 events, revents; } report = {report_fd, 0, 0};
	struct timespec now = {0, 0};
	return C5(SYS_ppoll, &report, 1, &now, NULL, 8) == 0; // an error of the pipe: it has no reader
}

// join_shared joins namespaces that the task shares with others. That of processes holds for the program, which is forked, and not for this process:
// nobody in there can touch it.
static void join_shared(void) {
	if (head->ipcns >= 0) must("join the shared memory", "", C2(SYS_setns, fd_of(head->ipcns), CLONE_NEWIPC));
	if (head->pidns >= 0) must("join the processes", "", C2(SYS_setns, fd_of(head->pidns), CLONE_NEWPID));
}

// stage is the clone's life: prepare, fork the program, hold it.
__attribute__((noreturn)) static void stage(void) {
	report_fd = fd_of(head->report);
	C1(SYS_close, SOCKET);
	join_cgroups();
	if (head->netns >= 0) must("join the network", "", C2(SYS_setns, fd_of(head->netns), CLONE_NEWNET));
	if (head->op == OP_EXEC && head->flags & FULL) {
		u64 own = head->flags & SHARED_PID ? 0 : CLONE_NEWPID; // otherwise its first process is not in it
		must("enter the task", "", C2(SYS_setns, fd_of(head->pidfd), CLONE_NEWNS | own | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET));
		join_shared();
	} else if (head->flags & FULL && !(head->flags & HOLD)) {
		join_shared();
		must("set the host name", host, C2(SYS_sethostname, host, length(host)));
		if (head->flags & NETWORK) loopback_up();
		mounts();
		if (!(head->flags & SHARED_PID)) mount_proc();
	}
	if (head->flags & TTY && !(head->flags & ADOPT)) open_terminal();
	if (subreaper()) C2(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
	C2(SYS_prctl, PR_SET_NAME, head->flags & HOLD ? "proffer-init" : "proffer-task");
	write_record(RUNNING, 0, 0);
	if (!supervised()) for (;;) C1(SYS_exit_group, 125);
	if (head->flags & HOLD) { // the namespace is all that there is
		must("close the rest", "", C3(SYS_close_range, KEPT_STDOUT, ~0U, 0));
		report_fd = -1;
		C2(SYS_prctl, PR_SET_DUMPABLE, 0);
		set_caps(0, 0);
		hold(0);
	}
	i64 child = C5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	must("fork", "", child);
	if (child == 0) program();

	// Keep the reading ends of the task's pipes, so that it does not get SIGPIPE when the supervisor dies; a new one
	// opens them again through /proc. Everything else goes, the report last: until then a failure is one of the start.
	if (head->keep_out >= 0) {
		i64 out = C3(SYS_fcntl, master >= 0 ? master : fd_of(head->keep_out), F_DUPFD_CLOEXEC, FIRST_FREE);
		must("keep the output", "", out);
		i64 err = C3(SYS_fcntl, fd_of(head->keep_err), F_DUPFD_CLOEXEC, FIRST_FREE);
		must("keep the output", "", err);
		i64 report = C3(SYS_fcntl, report_fd, F_DUPFD_CLOEXEC, FIRST_FREE);
		must("keep the output", "", report);
		report_fd = (int)report;
		must("keep the output", "", C3(SYS_dup3, out, KEPT_STDOUT, O_CLOEXEC));
		must("keep the output", "", C3(SYS_dup3, err, KEPT_STDERR, O_CLOEXEC));
		if (head->flags & ADOPT) {
			must("keep the report", "", C3(SYS_dup3, report, KEPT_REPORT, O_CLOEXEC));
			report_fd = KEPT_REPORT;
		} else {
			C1(SYS_close, KEPT_REPORT);
		}
		must("close the rest", "", C3(SYS_close_range, FIRST_FREE, ~0U, 0));
	} else if (head->flags & ADOPT) { // a command: nothing is kept but the report
		i64 report = C3(SYS_fcntl, report_fd, F_DUPFD_CLOEXEC, FIRST_FREE);
		must("keep the report", "", report);
		report_fd = (int)report;
		must("keep the report", "", C3(SYS_dup3, report, KEPT_REPORT, O_CLOEXEC));
		report_fd = KEPT_REPORT;
		must("close the rest", "", C3(SYS_close_range, KEPT_STDOUT, KEPT_STDERR, 0));
		must("close the rest", "", C3(SYS_close_range, FIRST_FREE, ~0U, 0));
	} else {
		must("close the rest", "", C3(SYS_close_range, KEPT_STDOUT, ~0U, 0));
	}
	if (!(head->flags & ADOPT)) report_fd = -1;
	C1(SYS_chdir, "/");
	if (head->flags & FULL) {
		C2(SYS_prctl, PR_SET_DUMPABLE, 0); // nothing in the task may look into this process
		set_caps(1UL << CAP_KILL, 0);
	}
	hold((i32)child);
}

static i64 clone_stage(void) {
	u64 flags = CLONE_PARENT; // the supervisor is the parent, not the starter
	if (head->op == OP_START && head->flags & FULL) {
		if (!(head->flags & SHARED_PID)) flags |= CLONE_NEWPID;
		if (!(head->flags & (SHARED_IPC | HOLD))) flags |= CLONE_NEWIPC;
		if (!(head->flags & HOLD)) flags |= CLONE_NEWNS | CLONE_NEWUTS;
		if (head->flags & NETWORK) flags |= CLONE_NEWNET;
	}
	if (head->cgroup < 0) return C5(SYS_clone, flags, 0, 0, 0, 0);
	struct clone_args args;
	memset(&args, 0, sizeof args);
	args.flags = flags | 0x200000000UL; // CLONE_INTO_CGROUP
	args.cgroup = (u64)fd_of(head->cgroup);
	return C2(SYS_clone3, &args, sizeof args);
}

// starter serves the socket until its other end closes.
__attribute__((noreturn, used)) void starter(void) {
	u64 all = ~0UL, zero[4] = {0, 0, 0, 0};
	C4(SYS_rt_sigprocmask, 2, &all, NULL, 8);
	for (u64 sig = 1; sig < 65; sig++)
		if (sig != SIGKILL && sig != SIGSTOP) C4(SYS_rt_sigaction, sig, zero, NULL, 8);
	C2(SYS_prctl, PR_SET_NAME, "proffer-starter");
	for (;;) {
		static u8 control[24 + 4 * 64] __attribute__((aligned(8)));
		struct iovec iov = {message, sizeof message};
		struct msghdr msg = {NULL, 0, 0, &iov, 1, control, sizeof control, 0, 0};
		i64 size = C3(SYS_recvmsg, SOCKET, &msg, 0x40000000 /* MSG_CMSG_CLOEXEC */);
		if (size == -EINTR) continue;
		if (size <= 0) for (;;) C1(SYS_exit_group, 0);
		u64 nfds = 0;
		if (msg.controllen >= 16) {
			u64 len;
			memcpy(&len, control, 8);
			nfds = (len - 16) / 4;
			if (nfds > MAX_FDS) nfds = MAX_FDS;
			memcpy(fds, control + 16, nfds * 4);
		}
		i32 reply = 0;
		if (((u32 *)message)[0] == OP_SETUP) {
			report_fd = SOCKET;
			if (message[size - 1] == 0) make_root((char *)message + 4, (char *)message + size);
			report_fd = -1;
		} else {
			reply = parse((u64)size, nfds);
			if (reply == 0) {
				i64 pid = clone_stage();
				if (pid == 0) stage();
				reply = (i32)pid;
			}
		}
		for (u64 i = 0; i < nfds; i++) C1(SYS_close, fds[i]);
		C6(SYS_sendto, SOCKET, &reply, sizeof reply, 0x4000 /* MSG_NOSIGNAL */, NULL, 0);
	}
}
