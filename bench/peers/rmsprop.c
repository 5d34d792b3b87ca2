// RMSProp steps as one writes them in C, for the benchmark, which compiles and
// loads this.
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#ifdef __clang__
#define COMPILER "clang"
#define VERSION __clang_major__, __clang_minor__
#else
#define COMPILER "gcc"
#define VERSION __GNUC__, __GNUC_MINOR__
#endif

__attribute__((noinline)) static void update(float *restrict theta, const float *restrict grad, float *restrict s,
                                             size_t n, float lr, float rho, float rest, float eps) {
	for (size_t i = 0; i < n; i++) {
		float g = grad[i];
		s[i] = rho * s[i] + rest * (g * g);
		theta[i] -= lr / sqrtf(s[i] + eps) * g;
	}
}

struct args { // cArgs in peer_c.go
	float *theta, *grad, *s;
	size_t n, steps;
	float lr, rho, rest, eps;
};

void take(const struct args *a) {
	for (size_t i = 0; i < a->steps; i++)
		update(a->theta, a->grad, a->s, a->n, a->lr, a->rho, a->rest, a->eps);
}

// tell writes the compiler's name.
void tell(char *text, size_t size) { snprintf(text, size, COMPILER " %d.%d", VERSION); }
