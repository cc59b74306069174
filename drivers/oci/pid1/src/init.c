// What begins a program in a container, given as: what to do, where the program is, what it is called, arguments.
//
// "exec" becomes the program: runtimes know no name for one but its path.
//
// "init" is the first process of a container that asks for one: it starts the program, passes signals on to it, reaps what the program
// leaves behind, and ends as it did. The kernel shields the first process of a PID namespace from signals that it does not handle; the
// program is the second one, and so SIGTERM ends it without a handler.
//
// Freestanding: no libc. All signals are blocked and waited for, so there is no handler and nothing is missed.

typedef unsigned long u64;
typedef long i64;

#if defined(__x86_64__)
enum { SYS_write = 1, SYS_rt_sigprocmask = 14, SYS_clone = 56, SYS_execve = 59, SYS_wait4 = 61, SYS_kill = 62, SYS_rt_sigtimedwait = 128, SYS_exit_group = 231 };
static i64 call(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e) {
	register i64 r10 __asm__("r10") = d;
	register i64 r8 __asm__("r8") = e;
	i64 ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return ret;
}
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall first\n\thlt\n");
#elif defined(__aarch64__)
enum { SYS_write = 64, SYS_exit_group = 94, SYS_kill = 129, SYS_rt_sigprocmask = 135, SYS_rt_sigtimedwait = 137, SYS_clone = 220, SYS_execve = 221, SYS_wait4 = 260 };
static i64 call(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e) {
	register i64 x8 __asm__("x8") = n;
	register i64 x0 __asm__("x0") = a;
	register i64 x1 __asm__("x1") = b;
	register i64 x2 __asm__("x2") = c;
	register i64 x3 __asm__("x3") = d;
	register i64 x4 __asm__("x4") = e;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory", "cc");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x30,#0\n\tmov x0,sp\n\tbl first\n\tbrk #0\n");
#else
#error "it is written for amd64 and arm64"
#endif

enum { ENOENT = 2, ENOTDIR = 20, SIGCHLD = 17, SIG_SETMASK = 2, WNOHANG = 1, MAX_PATH = 4096 };

static void end(int code) {
	for (;;) call(SYS_exit_group, code, 0, 0, 0, 0);
}

static void say(const char *s) {
	u64 n = 0;
	while (s[n]) n++;
	call(SYS_write, 2, (i64)s, n, 0, 0);
}

// run becomes the program, which is looked for in PATH unless it has a slash. It ends as a shell does when that cannot be.
static void run(const char *name, char **argv, char **env) {
	const char *path = "";
	u64 length = 0, slash = 0;
	for (; name[length]; length++) slash |= name[length] == '/';
	for (char **e = env; *e; e++)
		if ((*e)[0] == 'P' && (*e)[1] == 'A' && (*e)[2] == 'T' && (*e)[3] == 'H' && (*e)[4] == '=') path = *e + 5;
	i64 err = -ENOENT;
	if (slash) err = call(SYS_execve, (i64)name, (i64)argv, (i64)env, 0, 0);
	for (const char *p = path; !slash; p++) {
		char file[MAX_PATH];
		u64 n = 0, fits = 1;
		for (; *p && *p != ':'; p++)
			if (n < MAX_PATH - 2) file[n++] = *p;
			else fits = 0;
		if (n == 0) file[n++] = '.';
		file[n++] = '/';
		if (fits && n + length < MAX_PATH) {
			for (u64 i = 0; i <= length; i++) file[n + i] = name[i];
			i64 now = call(SYS_execve, (i64)file, (i64)argv, (i64)env, 0, 0);
			if (now != -ENOENT && now != -ENOTDIR) err = now;
		}
		if (!*p) break;
	}
	say(name);
	say(err == -ENOENT ? ": not found\n" : ": cannot be run\n");
	end(err == -ENOENT ? 127 : 126);
}

__attribute__((used)) static void first(u64 *stack) {
	u64 argc = stack[0], all = ~0UL, before = 0, info[16];
	char **argv = (char **)(stack + 1), **env = argv + argc + 1;
	if (argc < 4) end(127);
	if (argv[1][0] == 'e') run(argv[2], argv + 3, env);
	call(SYS_rt_sigprocmask, SIG_SETMASK, (i64)&all, (i64)&before, sizeof all, 0);
	i64 program = call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (program < 0) {
		say("the first process of the container cannot make another one\n");
		end(126);
	}
	if (program == 0) {
		call(SYS_rt_sigprocmask, SIG_SETMASK, (i64)&before, 0, sizeof before, 0);
		run(argv[2], argv + 3, env);
	}
	for (;;) {
		i64 sig = call(SYS_rt_sigtimedwait, (i64)&all, (i64)info, 0, sizeof all, 0);
		if (sig > 0 && sig != SIGCHLD) call(SYS_kill, program, sig, 0, 0, 0);
		while (sig == SIGCHLD) {
			int status = 0;
			i64 pid = call(SYS_wait4, -1, (i64)&status, WNOHANG, 0, 0);
			if (pid <= 0) break;
			if (pid == program) end(status & 0x7f ? 128 + (status & 0x7f) : (status >> 8) & 0xff);
		}
	}
}
