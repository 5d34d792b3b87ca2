// RMSProp steps as one writes them in C, for the benchmark, which compiles and
// starts this program and talks to it in lines; see peer_child.go.
#define _GNU_SOURCE // madvise
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#ifdef __clang__
#define COMPILER "clang"
#define MAJOR __clang_major__
#define MINOR __clang_minor__
#else
#define COMPILER "gcc"
#define MAJOR __GNUC__
#define MINOR __GNUC_MINOR__
#endif

__attribute__((noinline)) static void update(float *restrict theta, const float *restrict grad, float *restrict s,
                                             size_t n, float lr, float rho, float c, float eps) {
	for (size_t i = 0; i < n; i++) {
		float g = grad[i];
		s[i] = rho * s[i] + c * (g * g);
		theta[i] -= lr / sqrtf(s[i] + eps) * g;
	}
}

static void fail(const char *what) {
	perror(what);
	exit(1);
}

// floats allocates n of them, aligned as the benchmark aligns its own.
static float *floats(size_t n, int huge_pages) {
	size_t align = n * sizeof(float) < 2 << 20 ? 64 : 2 << 20;
	size_t size = (n * sizeof(float) + align - 1) / align * align;
	float *p = aligned_alloc(align, size);
	if (p == NULL)
		fail("aligned_alloc");
#ifdef __linux__
	if (huge_pages && align > 64)
		madvise(p, size, MADV_HUGEPAGE); // where that fails, the pages are small
#endif
	return p;
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: rmsprop LR RHO EPS HUGEPAGES\n");
		return 2;
	}
	double lr = atof(argv[1]), rho = atof(argv[2]), eps = atof(argv[3]);
	int huge_pages = atoi(argv[4]);
	float *theta = NULL, *grad = NULL, *s = NULL;
	size_t n = 0;
	char line[8192], path[8192];
	long steps;

	setlinebuf(stdout);
	printf("ready %s %d.%d\n", COMPILER, MAJOR, MINOR);
	while (fgets(line, sizeof line, stdin) != NULL) {
		if (sscanf(line, "prepare %zu %[^\n]", &n, path) == 2) {
			free(theta), free(grad), free(s);
			theta = floats(n, huge_pages), grad = floats(n, huge_pages), s = floats(n, huge_pages);
			FILE *f = fopen(path, "rb");
			if (f == NULL || fread(theta, sizeof(float), n, f) != n || fread(grad, sizeof(float), n, f) != n ||
			    fread(s, sizeof(float), n, f) != n)
				fail(path);
			fclose(f);
			puts("ok");
		} else if (sscanf(line, "run %ld", &steps) == 1) {
			int64_t start = now();
			for (long i = 0; i < steps; i++)
				update(theta, grad, s, n, lr, rho, 1 - rho, eps);
			printf("%lld\n", (long long)(now() - start));
		} else if (sscanf(line, "save %[^\n]", path) == 1) {
			FILE *f = fopen(path, "wb");
			if (f == NULL || fwrite(theta, sizeof(float), n, f) != n || fwrite(s, sizeof(float), n, f) != n ||
			    fclose(f) != 0)
				fail(path);
			puts("ok");
		} else if (strcmp(line, "quit\n") == 0) {
			return 0;
		} else {
			fprintf(stderr, "unknown command: %s", line);
			return 2;
		}
	}
	return 0;
}
