/*
 * The functions of kernel.h, and what a Go runtime must not do to the process that
 * loads it.
 *
 * fork: a child has the runtime's memory but none of its threads, and a call could
 *     wait forever. So every function first asks whether this is such a child.
 * signals: a thread that runs Go is on a small stack of Go's. A handler that was
 *     installed without SA_ONSTACK would write over its end. So Go's threads block
 *     signals, and so does the caller's for as long as it runs Go. Go unblocks SIGCHLD and
 *     SIGPROF in its threads, and needs SIGURG itself: their handlers get SA_ONSTACK.
 * affinity: threads inherit the cores of the thread that makes them. OpenMP with
 *     OMP_PROC_BIND leaves that with one core. Go's first thread gets all of the
 *     process's, and every other one inherits them from it (see step.go).
 * open files: Go's package os raises the soft limit. It is put back.
 */
#define _GNU_SOURCE
#include "process.h"
#include "_cgo_export.h"

#include <stdatomic.h>
#include <string.h>

static const char *_Atomic isa, *_Atomic isas, *_Atomic version;

#ifdef __linux__

#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Fork ---- */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* A page that the kernel sets to zero in every child, however it was forked; NULL
 * before Linux 4.14. A process number alone could come again in another namespace. */
static const volatile char *loaded_here;
static pid_t loaded_by;

static int forked(void) { return loaded_here ? !*loaded_here : getpid() != loaded_by; }

static void mark_process(void) {
	loaded_by = getpid();
	char *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return;
	if (madvise(page, 1, MADV_WIPEONFORK) == 0) {
		*page = 1;
		loaded_here = page;
	} else {
		munmap(page, 1);
	}
}

/* ---- Signals ---- */

/* All but those that a fault of the thread itself raises, and SIGURG, by which Go
 * stops its threads. */
static sigset_t others(void) {
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPIPE, SIGURG};
	sigset_t set;
	sigfillset(&set);
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		sigdelset(&set, own[i]);
	return set;
}

/* What Go itself does to the handlers that it finds when it is loaded. */
static void put_on_signal_stack(int sig) {
	struct sigaction action;
	if (sigaction(sig, NULL, &action) == 0 && !(action.sa_flags & SA_ONSTACK) && action.sa_handler != SIG_DFL &&
	    action.sa_handler != SIG_IGN) {
		action.sa_flags |= SA_ONSTACK;
		sigaction(sig, &action, NULL);
	}
}

typedef sigset_t mask;

static void begin(mask *before) {
	static __thread int known;
	sigset_t set = others();
	pthread_sigmask(SIG_BLOCK, &set, before);
	if (!known) {
		/* The first call of a thread makes it one of Go's, which unblocks signals. */
		kernelgo_touch();
		known = 1;
		pthread_sigmask(SIG_BLOCK, &set, NULL);
	}
}

void process_before_threads(void) {
	static const int unblocked[] = {SIGPROF, SIGCHLD, SIGURG};
	for (size_t i = 0; i < sizeof unblocked / sizeof *unblocked; i++)
		put_on_signal_stack(unblocked[i]);
}

static void end(const mask *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }

/* ---- Cores ---- */

typedef struct {
	unsigned long bits[128]; /* 8,192 cores */
} cores;

enum { BITS = 8 * sizeof(unsigned long) };

static int cores_of(pid_t thread, cores *c) {
	memset(c, 0, sizeof *c);
	return syscall(SYS_sched_getaffinity, thread, sizeof *c, c) > 0;
}

static void add_cores(cores *to, const cores *c) {
	for (size_t i = 0; i < sizeof c->bits / sizeof *c->bits; i++)
		to->bits[i] |= c->bits[i];
}

/* Adds the places to which an OpenMP runtime binds its threads. */
static int add_places(struct dl_phdr_info *library, size_t size, void *to) {
	(void)size;
	const char *name = strrchr(library->dlpi_name, '/');
	name = name ? name + 1 : library->dlpi_name;
	if (strncmp(name, "libgomp", 7) && strncmp(name, "libomp", 6) && strncmp(name, "libiomp", 7))
		return 0;
	void *openmp = dlopen(library->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
	if (!openmp)
		return 0;
	int (*places)(void) = (int (*)(void))dlsym(openmp, "omp_get_num_places");
	int (*procs)(int) = (int (*)(int))dlsym(openmp, "omp_get_place_num_procs");
	void (*ids)(int, int *) = (void (*)(int, int *))dlsym(openmp, "omp_get_place_proc_ids");
	for (int i = 0; places && procs && ids && i < places(); i++) {
		int n = procs(i), *all = calloc(n > 0 ? n : 1, sizeof *all);
		if (!all)
			break;
		ids(i, all);
		for (int k = 0; k < n; k++)
			if (all[k] >= 0 && (size_t)all[k] < 8 * sizeof(cores))
				((cores *)to)->bits[all[k] / BITS] |= 1ul << all[k] % BITS;
		free(all);
	}
	dlclose(openmp);
	return 0;
}

/* Those of all threads of the process together, and OpenMP's. A limit of the whole
 * process, as by taskset, holds for each of them. */
static void cores_of_process(cores *all) {
	DIR *threads = opendir("/proc/self/task");
	struct dirent *entry;
	cores c;
	while (threads && (entry = readdir(threads)))
		if (atoi(entry->d_name) > 0 && cores_of(atoi(entry->d_name), &c))
			add_cores(all, &c);
	if (threads)
		closedir(threads);
	if (getenv("OMP_PROC_BIND") || getenv("OMP_PLACES") || getenv("GOMP_CPU_AFFINITY") || getenv("KMP_AFFINITY"))
		dl_iterate_phdr(add_places, all);
}

/* ---- Loading ---- */

static struct {
	sigset_t mask;
	cores cores;
	int has_cores;
	struct rlimit files;
	int has_files;
} before;

/* Go's own constructor has no priority: it is called between these two, and starts Go's
 * first thread, which inherits what they set. */
__attribute__((constructor(101))) static void before_go(void) {
	mark_process();
	before.has_files = getrlimit(RLIMIT_NOFILE, &before.files) == 0;
	sigset_t set = others();
	pthread_sigmask(SIG_BLOCK, &set, &before.mask);
	before.has_cores = cores_of(0, &before.cores);
	if (before.has_cores) {
		cores all = before.cores;
		cores_of_process(&all);
		syscall(SYS_sched_setaffinity, 0, sizeof all, &all);
	}
}

__attribute__((constructor)) static void after_go(void) {
	if (before.has_cores)
		syscall(SYS_sched_setaffinity, 0, sizeof before.cores, &before.cores);
	pthread_sigmask(SIG_SETMASK, &before.mask, NULL);
}

static void put_back_limits(void) {
	struct rlimit now;
	/* Go sets it to the hard limit less one. Another value is another thread's. */
	if (before.has_files && getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur + 1 >= now.rlim_max &&
	    now.rlim_max == before.files.rlim_max)
		setrlimit(RLIMIT_NOFILE, &before.files);
}

#else /* Only Linux was there to try. */

typedef int mask;
static int forked(void) { return 0; }
static void begin(mask *before) { (void)before; }
static void end(const mask *before) { (void)before; }
static void put_back_limits(void) {}
void process_before_threads(void) {}

#endif

void process_ready(const char *isa_, const char *isas_, const char *version_) {
	isa = isa_, isas = isas_, version = version_;
	put_back_limits();
}

/* ---- Floating-point mode ---- */

/* The kernels in assembly see to it themselves; without assembly Go cannot. */
#ifdef __SSE2__
#include <xmmintrin.h>
enum { DEFAULT_MODE = 0x1f80 };
static unsigned set_float_mode(unsigned mode) {
	unsigned before = _mm_getcsr();
	if ((before ^ mode) & ~0x3fu) /* not the flags of what has happened */
		_mm_setcsr(mode);
	return before;
}
#else
enum { DEFAULT_MODE = 0 };
static unsigned set_float_mode(unsigned mode) { return mode; }
#endif

/* ---- Functions ---- */

static int32_t refuse(char *message, int64_t size) {
	static const char text[] = "the library was loaded before this process was forked: load another copy of its file";
	if (message && size > 0) {
		size_t n = sizeof text < (uint64_t)size ? sizeof text : (size_t)size;
		memcpy(message, text, n);
		message[n - 1] = 0;
	}
	return KERNEL_FORKED;
}

/* Returns from a function with what a call of Go returns. */
#define RETURN(call)                               \
	do {                                       \
		mask before;                       \
		if (forked())                      \
			return refuse(message, message_size); \
		begin(&before);                    \
		unsigned mode = set_float_mode(DEFAULT_MODE); \
		int32_t code = (call);             \
		set_float_mode(mode);              \
		end(&before);                      \
		return code;                       \
	} while (0)

int32_t kernel_update(float *theta, const float *grad, float *s, int64_t n, double lr, double rho, double eps,
                      char *message, int64_t message_size) {
	RETURN(kernelgo_update(theta, (float *)grad, s, n, lr, rho, eps, message, message_size));
}

int32_t kernel_step(kernel_optimizer optimizer, const kernel_settings *settings, const kernel_options *options,
                    int64_t options_count, const kernel_tensor *tensors, int64_t tensors_count,
                    kernel_report *report, char *message, int64_t message_size) {
	RETURN(kernelgo_step(optimizer, (kernel_settings *)settings, (kernel_options *)options, options_count,
	                     (kernel_tensor *)tensors, tensors_count, report, message, message_size));
}

int32_t kernel_sum_squares(const float *x, int64_t n, double *sum, char *message, int64_t message_size) {
	RETURN(kernelgo_sum_squares((float *)x, n, sum, message, message_size));
}

static int32_t set_isa(const char *name, char *message, int64_t message_size) {
	const char *now = isa;
	int32_t code = kernelgo_set_isa((char *)name, (char **)&now, message, message_size);
	isa = now;
	return code;
}

int32_t kernel_set_isa(const char *name, char *message, int64_t message_size) {
	RETURN(set_isa(name, message, message_size));
}

kernel_optimizer kernel_optimizer_new(void) {
	mask before;
	if (forked())
		return 0;
	begin(&before);
	kernel_optimizer made = kernelgo_optimizer_new();
	end(&before);
	return made;
}

void kernel_optimizer_free(kernel_optimizer optimizer) {
	mask before;
	if (forked())
		return;
	begin(&before);
	kernelgo_optimizer_free(optimizer);
	end(&before);
}

/* These also work in a child, which may ask what its parent used. */
static const char *name(const char *_Atomic *of) {
	if (!*of && !forked()) {
		mask before; /* Go is not ready yet: a call waits until it is. */
		begin(&before);
		kernelgo_touch();
		end(&before);
	}
	return *of ? *of : "";
}

const char *kernel_isa(void) { return name(&isa); }
const char *kernel_isas(void) { return name(&isas); }
const char *kernel_version(void) { return name(&version); }

int32_t kernel_forked(void) { return forked(); }
