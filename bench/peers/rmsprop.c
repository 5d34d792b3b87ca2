// RMSProp steps in plain C. The benchmark compiles and loads this.
#include <math.h>
#include <stddef.h>

__attribute__((noinline)) static void update(float *restrict theta, const float *restrict grad, float *restrict s,
                                             size_t n, float lr, float rho, float rest, float eps) {
	for (size_t i = 0; i < n; i++) {
		float g = grad[i];
		s[i] = rho * s[i] + rest * (g * g);
		theta[i] -= lr / sqrtf(s[i] + eps) * g;
	}
}

void take(float *theta, const float *grad, float *s, size_t n, size_t steps,
          float lr, float rho, float rest, float eps) {
	for (size_t i = 0; i < steps; i++)
		update(theta, grad, s, n, lr, rho, rest, eps);
}

#define TEXT(x) #x
#define VERSION(major, minor) TEXT(major) "." TEXT(minor)
#ifdef __clang__
const char *compiler(void) { return "clang " VERSION(__clang_major__, __clang_minor__); }
#else
const char *compiler(void) { return "gcc " VERSION(__GNUC__, __GNUC_MINOR__); }
#endif
