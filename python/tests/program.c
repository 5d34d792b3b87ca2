/* Uses the library without Python: prints what failed, and returns how much. */
#define _GNU_SOURCE
#include <fenv.h>
#include <kernel.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

static int failures;

#define CHECK(condition)                                              \
	do {                                                              \
		if (!(condition)) {                                           \
			printf("line %d: %s\n", __LINE__, #condition);            \
			failures++;                                               \
		}                                                             \
	} while (0)

static char message[200];

/* refused checks the code, that the message has the word, and that it fits. */
#define REFUSED(word, call)                                           \
	do {                                                              \
		memset(message, 'x', sizeof message);                         \
		CHECK((call) == KERNEL_INVALID);                              \
		CHECK(memchr(message, 0, sizeof message) != NULL);            \
		if (!strstr(message, word)) {                                 \
			printf("line %d: no %s in: %s\n", __LINE__, word, message); \
			failures++;                                               \
		}                                                             \
	} while (0)

#define TO message, sizeof message

static float *numbers(int n, float start) {
	float *x = malloc(n * sizeof *x); /* each in an allocation of its own: valgrind sees its ends */
	for (int i = 0; i < n; i++)
		x[i] = start + (float)i / 64;
	return x;
}

static void test_update(int n) {
	float *theta = numbers(n, 1), *grad = numbers(n, -0.25f), *s = numbers(n, 0);
	float *want = numbers(n, 1), *want_s = numbers(n, 0);
	for (int i = 0; i < n; i++) {
		volatile float gg = grad[i] * grad[i], kept = 0.5f * want_s[i], new = 0.5f * gg;
		volatile float sum = kept + new, inside = sum + 0.25f, root = sqrtf(inside), rate = 0.125f / root;
		volatile float step = rate * grad[i];
		want_s[i] = sum;
		want[i] = want[i] - step;
	}
	CHECK(kernel_update(theta, grad, s, n, 0.125, 0.5, 0.25, TO) == KERNEL_OK);
	CHECK(memcmp(theta, want, n * sizeof *theta) == 0);
	CHECK(memcmp(s, want_s, n * sizeof *s) == 0);

	double sum = -1, want_sum = 0;
	for (int i = 0; i < n; i++)
		want_sum += (double)grad[i] * grad[i];
	CHECK(kernel_sum_squares(grad, n, &sum, TO) == KERNEL_OK);
	CHECK(fabs(sum - want_sum) <= 1e-12 * want_sum);
	free(theta), free(grad), free(s), free(want), free(want_s);
}

static void test_bad_update(void) {
	float *theta = numbers(8, 1), *grad = numbers(8, 2), *s = numbers(8, 3);
	double sum = 7;
	REFUSED("theta = NULL", kernel_update(NULL, grad, s, 8, 0.1, 0.9, 0, TO));
	REFUSED("grad = NULL", kernel_update(theta, NULL, s, 8, 0.1, 0.9, 0, TO));
	REFUSED("s = NULL", kernel_update(theta, grad, NULL, 8, 0.1, 0.9, 0, TO));
	REFUSED("length -1: must not be negative", kernel_update(theta, grad, s, -1, 0.1, 0.9, 0, TO));
	REFUSED("length", kernel_update(theta, grad, s, INT64_MIN, 0.1, 0.9, 0, TO));
	REFUSED("end of memory", kernel_update(theta, grad, s, INT64_MAX, 0.1, 0.9, 0, TO));
	REFUSED("end of memory", kernel_update(theta, grad, s, INT64_MAX / 4, 0.1, 0.9, 0, TO) == KERNEL_INVALID
		? kernel_update((float *)-64, grad, s, 17, 0.1, 0.9, 0, TO) : -1);
	REFUSED("end of memory", kernel_update(theta, grad, s, INT64_MAX / 2 + 3, 0.1, 0.9, 0, TO)); /* times 4 bytes: 8 */
	REFUSED("theta", kernel_update((float *)((char *)theta + 1), grad, s, 7, 0.1, 0.9, 0, TO));
	REFUSED("s = 0x", kernel_update(theta, grad, (float *)((char *)s + 2), 7, 0.1, 0.9, 0, TO));
	REFUSED("multiple of 4", kernel_update(theta, (float *)((char *)grad + 3), s, 7, 0.1, 0.9, 0, TO));
	REFUSED("grad overlaps theta", kernel_update(theta, theta + 3, s, 4, 0.1, 0.9, 0, TO));
	REFUSED("s overlaps theta", kernel_update(theta, grad, theta, 8, 0.1, 0.9, 0, TO));
	REFUSED("grad overlaps s", kernel_update(theta, s + 1, s, 2, 0.1, 0.9, 0, TO));
	REFUSED("lr = -1", kernel_update(theta, grad, s, 8, -1, 0.9, 0, TO));
	REFUSED("rho = 2", kernel_update(theta, grad, s, 8, 0.1, 2, 0, TO));
	REFUSED("eps = NaN", kernel_update(theta, grad, s, 8, 0.1, 0.9, NAN, TO));
	REFUSED("x = NULL", kernel_sum_squares(NULL, 8, &sum, TO));
	REFUSED("sum = NULL", kernel_sum_squares(grad, 8, NULL, TO));
	REFUSED("x", kernel_sum_squares(grad, -8, &sum, TO));
	CHECK(sum == 7);
	for (int i = 0; i < 8; i++)
		CHECK(theta[i] == 1 + (float)i / 64 && s[i] == 3 + (float)i / 64);

	/* No message, a short one, and one without room for anything but its end. */
	CHECK(kernel_update(NULL, grad, s, 8, 0.1, 0.9, 0, NULL, 0) == KERNEL_INVALID);
	CHECK(kernel_update(NULL, grad, s, 8, 0.1, 0.9, 0, NULL, 99) == KERNEL_INVALID);
	char *few = malloc(6);
	CHECK(kernel_update(NULL, grad, s, 8, 0.1, 0.9, 0, few, 6) == KERNEL_INVALID && strcmp(few, "theta") == 0);
	CHECK(kernel_update(NULL, grad, s, 8, 0.1, 0.9, 0, few, 1) == KERNEL_INVALID && few[0] == 0 && few[1] == 'h');
	CHECK(kernel_update(NULL, grad, s, 8, 0.1, 0.9, 0, few, 0) == KERNEL_INVALID && few[1] == 'h');
	CHECK(kernel_update(NULL, grad, s, 8, 0.1, 0.9, 0, few, -5) == KERNEL_INVALID && few[1] == 'h');
	CHECK(kernel_update(NULL, NULL, NULL, 0, 0.1, 0.9, 0, TO) == KERNEL_OK); /* nothing to do */
	free(few), free(theta), free(grad), free(s);
}

#define N 3000

struct model {
	float *arrays[2][5];
	float steps[2];
	kernel_tensor tensors[2];
};

static void make(struct model *m) {
	for (int t = 0; t < 2; t++) {
		int n = t ? 5 : N;
		for (int k = 0; k < 5; k++)
			m->arrays[t][k] = numbers(n, k < 2 ? -0.5f + t : 0);
		for (int k = 2; k < 5; k++)
			memset(m->arrays[t][k], 0, n * sizeof(float));
		m->steps[t] = 0;
		float **a = m->arrays[t];
		m->tensors[t] = (kernel_tensor){a[0], a[1], a[2], a[3], t ? NULL : a[4], &m->steps[t], n, t};
	}
}

static void drop(struct model *m) {
	for (int t = 0; t < 2; t++)
		for (int k = 0; k < 5; k++)
			free(m->arrays[t][k]);
}

static void test_step(kernel_optimizer optimizer) {
	kernel_options options[2] = {
		{.lr = 0.01, .rho = 0.99, .eps = 1e-8, .momentum = 0.9, .flags = KERNEL_PYTORCH | KERNEL_CENTERED},
		{.lr = 0.5, .rho = 0.9, .eps = 1e-7},
	};
	kernel_settings settings = {.workers = 2};
	kernel_report report = {-1, -1};
	struct model m, other;
	make(&m), make(&other);
	for (int i = 0; i < 5; i++)
		CHECK(kernel_step(optimizer, &settings, options, 2, m.tensors, 2, &report, TO) == KERNEL_OK);
	CHECK(report.norm == 0 && report.skipped == 0);
	CHECK(m.steps[0] == 5 && m.steps[1] == 5);
	/* Without settings, in two calls: the same bits. */
	for (int i = 0; i < 5; i++) {
		CHECK(kernel_step(0, NULL, options, 2, other.tensors, 1, NULL, TO) == KERNEL_OK);
		CHECK(kernel_update(other.arrays[1][0], other.arrays[1][1], other.arrays[1][2], 5, 0.5, 0.9, 1e-7, TO) == KERNEL_OK);
	}
	for (int t = 0; t < 2; t++)
		for (int k = 0; k < 5; k++)
			CHECK(memcmp(m.arrays[t][k], other.arrays[t][k], (t ? 5 : N) * sizeof(float)) == 0);
	CHECK(m.arrays[0][3][1] != 0 && m.arrays[0][4][1] != 0 && m.arrays[1][3][1] == 0 && m.arrays[1][4][1] == 0);

	/* A tensor without a gradient is left alone. */
	float before = m.arrays[1][0][0];
	m.tensors[1].grad = NULL;
	CHECK(kernel_step(optimizer, &settings, options, 2, m.tensors, 2, NULL, TO) == KERNEL_OK);
	CHECK(m.arrays[1][0][0] == before && m.steps[1] == 5 && m.steps[0] == 6);
	m.tensors[1].grad = m.arrays[1][1];

	/* Clipping: the norm, and gradients that are used and set to zero. */
	double sums[2], norm;
	for (int t = 0; t < 2; t++)
		CHECK(kernel_sum_squares(m.arrays[t][1], t ? 5 : N, &sums[t], TO) == KERNEL_OK);
	norm = sqrt(sums[0] + sums[1]);
	settings.clip_norm = 0.5;
	settings.flags = KERNEL_SKIP_NON_FINITE | KERNEL_ZERO_GRAD;
	CHECK(kernel_step(optimizer, &settings, options, 2, m.tensors, 2, &report, TO) == KERNEL_OK);
	CHECK(report.norm == norm && report.skipped == 0 && m.steps[0] == 7);
	for (int i = 0; i < N; i++)
		CHECK(m.arrays[0][1][i] == 0);

	/* A step that is skipped. */
	m.arrays[1][1][2] = INFINITY;
	before = m.arrays[0][0][0];
	CHECK(kernel_step(optimizer, &settings, options, 2, m.tensors, 2, &report, TO) == KERNEL_OK);
	CHECK(report.skipped == 1 && isinf(report.norm) && m.steps[0] == 7 && m.arrays[0][0][0] == before);
	CHECK(m.arrays[1][1][2] == 0);

	/* Each flag alone, without a norm to clip. */
	settings.clip_norm = 0;
	m.arrays[1][1][2] = INFINITY;
	settings.flags = KERNEL_SKIP_NON_FINITE;
	CHECK(kernel_step(optimizer, &settings, options, 2, m.tensors, 2, &report, TO) == KERNEL_OK);
	CHECK(report.skipped == 1 && isinf(report.norm) && m.steps[0] == 7 && isinf(m.arrays[1][1][2]));
	settings.flags = KERNEL_ZERO_GRAD;
	CHECK(kernel_step(optimizer, &settings, options, 2, m.tensors, 2, &report, TO) == KERNEL_OK);
	CHECK(report.skipped == 0 && report.norm == 0 && m.steps[0] == 8 && m.arrays[1][1][2] == 0);

	/* Bias correction goes by the step. */
	m.steps[1] = 0;
	m.arrays[1][2][0] = 1e6f; /* which the first step forgets */
	m.arrays[1][1][0] = 2;
	options[1].flags = KERNEL_BIAS_CORRECTION;
	CHECK(kernel_step(optimizer, NULL, options, 2, m.tensors + 1, 1, NULL, TO) == KERNEL_OK);
	CHECK(m.arrays[1][2][0] == 4 && m.steps[1] == 1);
	drop(&m), drop(&other);
}

/* Each option does what kernel.h says, alone and with the others: the formula in double. */
static void test_options(void) {
	for (int set = 0; set < 1 << 11; set++) {
		kernel_options o = {.lr = 0.125, .rho = 0.75, .eps = 0.5, .flags = set % 128};
		o.momentum = set & 128 ? 0.625 : 0;
		o.weight_decay = set & 256 ? 0.375 : 0;
		kernel_settings settings = {.loss_scale = set & 512 ? 4 : 0};
		o.clip_value = set & 1024 ? 0.5 : 0;
		float theta = 2, grad, s = 0, m = 0, b = 0, step = 0;
		double want = 2, want_s = 0, want_m = 0, want_b = 0;
		kernel_tensor t = {&theta, &grad, &s, o.flags & KERNEL_CENTERED ? &m : NULL, o.momentum ? &b : NULL, &step, 1, 0};
		for (int i = 1; i <= 3; i++) {
			grad = i == 2 ? -3 : 5;
			CHECK(kernel_step(0, &settings, &o, 1, &t, 1, NULL, TO) == KERNEL_OK);
			double g = settings.loss_scale ? grad / settings.loss_scale : grad;
			if (o.flags & KERNEL_MAXIMIZE)
				g = -g;
			if (o.clip_value)
				g = fmin(fmax(g, -o.clip_value), o.clip_value);
			if (!(o.flags & KERNEL_DECOUPLED_DECAY))
				g += o.weight_decay * want;
			double rho = o.flags & KERNEL_BIAS_CORRECTION ? o.rho * (1 - pow(o.rho, i - 1)) / (1 - pow(o.rho, i)) : o.rho;
			want_s = rho * want_s + (1 - rho) * g * g;
			want_m = rho * want_m + (1 - rho) * g;
			double v = want_s - (o.flags & KERNEL_CENTERED ? want_m * want_m : 0);
			double u = g / (o.flags & KERNEL_EPS_OUTSIDE ? sqrt(v) + o.eps : sqrt(v + o.eps));
			double inside = o.flags & KERNEL_LR_OUTSIDE ? 1 : o.lr;
			want_b = o.momentum * want_b + inside * u;
			u = o.flags & KERNEL_NESTEROV ? o.momentum * want_b + inside * u : want_b;
			if (!o.momentum)
				u = want_b;
			if (o.flags & KERNEL_DECOUPLED_DECAY)
				want -= o.lr * o.weight_decay * want;
			want -= o.lr / inside * u;
		}
		if (!(o.flags & KERNEL_CENTERED))
			want_m = 0;
		if (!o.momentum)
			want_b = 0;
		if (!(fabs(theta - want) < 1e-5 && fabs(s - want_s) < 1e-5 * want_s && fabs(m - want_m) < 1e-5 &&
		      fabs(b - want_b) < 1e-5 && step == 3)) {
			printf("options %#x: theta = %g, want %g; s = %g, want %g; m = %g, want %g; b = %g, want %g; step = %g\n",
			       set, theta, want, s, want_s, m, want_m, b, want_b, step);
			failures++;
			return;
		}
	}
}

/* Adam, with each way to correct the bias, against the formula in double. */
static void test_first_moment(kernel_optimizer optimizer) {
	for (int set = 0; set < 1 << 6; set++) {
		int correction = set % 4; /* 0: none, 1: of the means, 2: of the step, 3: of the step, first_moment = 0 */
		kernel_options o = {.lr = 0.125, .rho = 0.75, .eps = 0.5, .first_moment = correction == 3 ? 0 : 0.625};
		o.flags = correction == 1 ? KERNEL_BIAS_CORRECTION : correction ? KERNEL_STEP_CORRECTION : 0;
		o.flags |= set & 4 ? KERNEL_EPS_OUTSIDE : 0;
		o.flags |= set & 8 ? KERNEL_DECOUPLED_DECAY : 0;
		o.flags |= set & 16 ? KERNEL_MAXIMIZE : 0;
		o.weight_decay = set & 32 ? 0.375 : 0;
		/* Two tensors of the same options, the second two steps ahead. */
		float theta[2] = {2, 2}, grad[2], s[2] = {0, 0}, m[2] = {0, 0}, step[2] = {0, 0};
		double want[2] = {2, 2}, want_s[2] = {0, 0}, want_m[2] = {0, 0};
		for (int i = 1; i <= 6; i++) {
			kernel_tensor t[2];
			for (int k = 0; k < 2; k++) {
				grad[k] = i % 2 ? -3 : 5 + k;
				t[k] = (kernel_tensor){theta + k, k || i > 2 ? grad + k : NULL, s + k, m + k, NULL, step + k, 1, 0};
			}
			CHECK(kernel_step(optimizer, NULL, &o, 1, t, 2, NULL, TO) == KERNEL_OK);
			for (int k = 0; k < 2; k++) {
				int steps = k ? i : i - 2;
				if (steps <= 0)
					continue;
				double g = o.flags & KERNEL_MAXIMIZE ? -grad[k] : grad[k];
				if (!(o.flags & KERNEL_DECOUPLED_DECAY))
					g += o.weight_decay * want[k];
				want_s[k] = o.rho * want_s[k] + (1 - o.rho) * g * g;
				want_m[k] = o.first_moment * want_m[k] + (1 - o.first_moment) * g;
				double c1 = correction ? 1 - pow(o.first_moment, steps) : 1, c2 = correction ? 1 - pow(o.rho, steps) : 1;
				double v = want_s[k] / c2;
				double u = want_m[k] / c1 / (o.flags & KERNEL_EPS_OUTSIDE ? sqrt(v) + o.eps : sqrt(v + o.eps));
				want[k] -= o.lr * (u + (o.flags & KERNEL_DECOUPLED_DECAY ? o.weight_decay * want[k] : 0));
				double kept_s = correction == 1 ? v : want_s[k];
				double kept_m = correction == 3 ? 0 : correction == 1 ? want_m[k] / c1 : want_m[k];
				if (!(fabs(theta[k] - want[k]) < 1e-5 && fabs(s[k] - kept_s) < 1e-5 * kept_s &&
				      fabs(m[k] - kept_m) < 1e-5 && step[k] == steps)) {
					printf("options %#x, tensor %d, step %d: theta = %g, want %g; s = %g, want %g; m = %g, want %g; step = %g\n",
					       set, k, i, theta[k], want[k], s[k], kept_s, m[k], kept_m, step[k]);
					failures++;
					return;
				}
			}
		}
	}

	/* A counter that a float cannot count on stays: the correction is 1 by then. */
	kernel_options o = {.lr = 0.125, .rho = 0.75, .eps = 0.5, .first_moment = 0.5, .flags = KERNEL_PYTORCH_ADAM};
	float theta = 1, grad = 2, s = 4, m = 2, step = 1 << 24;
	kernel_tensor t = {&theta, &grad, &s, &m, NULL, &step, 1, 0};
	CHECK(kernel_step(optimizer, NULL, &o, 1, &t, 1, NULL, TO) == KERNEL_OK);
	CHECK(step == 1 << 24 && theta == 1 - 0.125f / 2.5f * 2);
}

/* Rows of a table, some of them twice: the same bits as a table of these rows alone with summed gradients. */
static void test_rows(kernel_optimizer optimizer) {
	enum { ROWS = 50, WIDTH = 7, LISTED = 5, DISTINCT = 4 };
	static const int64_t rows[LISTED] = {30, 2, 30, 49, 3}, once[DISTINCT] = {30, 2, 49, 3};
	kernel_options o = {.lr = 0.25, .rho = 0.75, .eps = 1e-3, .momentum = 0.5, .weight_decay = 0.125};
	kernel_settings settings = {.workers = 2, .clip_norm = INFINITY};
	kernel_report report, want;
	float *theta = numbers(ROWS * WIDTH, 1), *grad = numbers(LISTED * WIDTH, -0.25f), *s = numbers(ROWS * WIDTH, 0);
	float *b = numbers(ROWS * WIDTH, 0), *before[3] = {numbers(ROWS * WIDTH, 1), numbers(ROWS * WIDTH, 0), numbers(ROWS * WIDTH, 0)};
	float steps = 0;
	float few[4][DISTINCT * WIDTH]; /* theta, grad, s, b */
	for (int i = 0; i < DISTINCT; i++)
		for (int k = 0; k < WIDTH; k++) {
			int from = once[i] * WIDTH + k, to = i * WIDTH + k;
			few[0][to] = theta[from], few[2][to] = s[from], few[3][to] = b[from], few[1][to] = 0;
			for (int j = 0; j < LISTED; j++)
				if (rows[j] == once[i])
					few[1][to] += grad[j * WIDTH + k];
		}
	kernel_tensor table = {theta, grad, s, NULL, b, &steps, ROWS * WIDTH, 0, WIDTH, rows, LISTED};
	kernel_tensor alone = {few[0], few[1], few[2], NULL, few[3], NULL, DISTINCT * WIDTH, 0, 0, NULL, 0};
	CHECK(kernel_step(optimizer, &settings, &o, 1, &table, 1, &report, TO) == KERNEL_OK);
	CHECK(kernel_step(0, &settings, &o, 1, &alone, 1, &want, TO) == KERNEL_OK);
	CHECK(report.norm == want.norm && report.norm > 0 && steps == 1);
	float *arrays[3] = {theta, s, b}, *theirs[3] = {few[0], few[2], few[3]};
	for (int a = 0; a < 3; a++) {
		for (int i = 0; i < DISTINCT; i++)
			memcpy(before[a] + once[i] * WIDTH, theirs[a] + i * WIDTH, WIDTH * sizeof(float));
		CHECK(memcmp(arrays[a], before[a], ROWS * WIDTH * sizeof(float)) == 0); /* also the other rows */
	}

	/* No rows: the step is counted, and nothing else happens. */
	table.rows = NULL, table.grad = NULL, table.rows_count = 0;
	CHECK(kernel_step(optimizer, &settings, &o, 1, &table, 1, &report, TO) == KERNEL_OK && report.norm == 0 && steps == 2);

	int64_t wrong[LISTED] = {1, 2, ROWS, 3, 4};
	kernel_tensor t;
#define WITH_ROWS(word, change) (t = table, t.grad = grad, t.rows = rows, t.rows_count = LISTED, change, 0); REFUSED(word, kernel_step(optimizer, NULL, &o, 1, &t, 1, NULL, TO))
	(void)WITH_ROWS("tensors[0].rows[2] = 50, want a row of theta, in [0, 50)", t.rows = wrong);
	wrong[2] = -1;
	(void)WITH_ROWS("tensors[0].rows[2] = -1", t.rows = wrong);
	wrong[2] = INT64_MIN;
	(void)WITH_ROWS("tensors[0].rows[2] = -9", t.rows = wrong);
	(void)WITH_ROWS("tensors[0].rows = NULL", t.rows = NULL);
	(void)WITH_ROWS("tensors[0].rows = 0x", t.rows = (const int64_t *)((const char *)rows + 4));
	(void)WITH_ROWS("rows_count = -1", t.rows_count = -1);
	(void)WITH_ROWS("rows_count = 9223372036854775807", t.rows_count = INT64_MAX);
	(void)WITH_ROWS("tensors[0].width = -7", t.width = -WIDTH);
	(void)WITH_ROWS("tensors[0].theta", t.width = WIDTH + 1);
	(void)WITH_ROWS("tensors[0].grad = NULL", t.grad = NULL);
	(void)WITH_ROWS("overlap", t.grad = theta + 5);
	CHECK(steps == 2 && memcmp(theta, before[0], ROWS * WIDTH * sizeof(float)) == 0);
	free(theta), free(grad), free(s), free(b), free(before[0]), free(before[1]), free(before[2]);
}

/* What kernel.h says of arrays that overlap, and of counters that do. */
static void test_shared(kernel_optimizer optimizer) {
	enum { LENGTH = 10, APART = 20, ARRAYS = 6, ALL = ARRAYS * APART };
	kernel_options o = {.lr = 0.5, .rho = 0.9, .eps = 1e-7};
	kernel_settings zero = {.flags = KERNEL_ZERO_GRAD};
	float *memory = numbers(ALL, 1), *before = numbers(ALL, 1), *a[ARRAYS], step = 3;
#define SHARED {{a[0], a[1], a[2], NULL, NULL, &step, LENGTH, 0}, {a[3], a[4], a[5], NULL, NULL, &step, LENGTH, 0}}
	/* Any two of the arrays share one element, or all. */
	for (int i = 0; i < ARRAYS; i++)
		for (int j = 0; j < ARRAYS; j++)
			for (int by = 1; by <= LENGTH && i != j; by += LENGTH - 1) {
				for (int k = 0; k < ARRAYS; k++)
					a[k] = memory + k * APART;
				a[j] = a[i] + LENGTH - by;
				kernel_tensor t[2] = SHARED;
				REFUSED("overlap", kernel_step(optimizer, &zero, &o, 1, t, 2, NULL, TO));
				if (i % 3 == 1 && j % 3 == 1)
					continue; /* both are gradients, which may */
				REFUSED("overlap", kernel_step(optimizer, NULL, &o, 1, t, 2, NULL, TO));
				if (i % 3 == 1 || j % 3 == 1)
					continue;
				t[0].grad = t[1].grad = NULL; /* though neither is stepped */
				REFUSED("overlap", kernel_step(optimizer, NULL, &o, 1, t, 2, NULL, TO));
			}
	CHECK(memcmp(memory, before, ALL * sizeof *memory) == 0 && step == 3);

	/* Counters may be shared, and lie anywhere: 1 is added for each tensor. */
	for (int k = 0; k < ARRAYS; k++)
		a[k] = memory + k * APART;
	a[4] = a[1] + 1; /* as gradients may */
	kernel_tensor t[2] = SHARED;
	CHECK(kernel_step(optimizer, NULL, &o, 1, t, 2, NULL, TO) == KERNEL_OK && step == 5);
	t[1].grad = NULL;
	t[0].step = a[3];
	float one = *a[3];
	CHECK(kernel_step(optimizer, NULL, &o, 1, t, 2, NULL, TO) == KERNEL_OK && step == 5 && *a[3] == one + 1);
	free(memory), free(before);
}

/* Calls with one optimizer wait for each other. */
enum { THREADS = 4, CALLS = 5000 };
static kernel_optimizer between_threads;
static pthread_barrier_t start;

static void *take_steps(void *tensor) {
	kernel_options o = {.lr = 0.01, .rho = 0.9, .eps = 1e-7};
	for (int i = 0; i < CALLS; i++)
		if (kernel_step(between_threads, NULL, &o, 1, tensor, 1, NULL, NULL, 0) != KERNEL_OK)
			return tensor;
	return NULL;
}

static void *take_steps_with_others(void *tensor) {
	pthread_barrier_wait(&start);
	return take_steps(tensor);
}

static void test_threads(void) {
	pthread_t threads[THREADS];
	kernel_tensor t[THREADS];
	float steps[THREADS] = {0};
	between_threads = kernel_optimizer_new();
	CHECK(pthread_barrier_init(&start, NULL, THREADS) == 0);
	for (int i = 0; i < THREADS; i++)
		t[i] = (kernel_tensor){numbers(300, 1), numbers(300, i), numbers(300, 0), NULL, NULL, &steps[i], 300, 0};
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, take_steps_with_others, &t[i]) == 0);
	for (int i = 0; i < THREADS; i++) {
		void *refused;
		CHECK(pthread_join(threads[i], &refused) == 0 && refused == NULL);
	}
	for (int i = 0; i < THREADS; i++) {
		kernel_tensor alone = {numbers(300, 1), t[i].grad, numbers(300, 0), NULL, NULL, NULL, 300, 0};
		CHECK(steps[i] == CALLS && take_steps(&alone) == NULL);
		CHECK(memcmp(alone.theta, t[i].theta, 300 * sizeof(float)) == 0);
		CHECK(memcmp(alone.mean_square, t[i].mean_square, 300 * sizeof(float)) == 0);
		free(alone.theta), free(alone.mean_square), free(t[i].theta), free(t[i].grad), free(t[i].mean_square);
	}
	kernel_optimizer_free(between_threads);
	pthread_barrier_destroy(&start);
}

static void test_bad_step(kernel_optimizer optimizer) {
	kernel_options good = {.lr = 0.5, .rho = 0.9, .eps = 1e-7}, o;
	kernel_settings s;
	kernel_report report;
	struct model m;
	make(&m);
	m.tensors[1].options = 0;
	kernel_tensor t[2];

#define STEP kernel_step(optimizer, NULL, &good, 1, t, 2, &report, TO)
#define WITH(word, change) (memcpy(t, m.tensors, sizeof t), change, 0); REFUSED(word, STEP)
	(void)WITH("tensors[1].theta = NULL", t[1].theta = NULL);
	(void)WITH("tensors[1].mean_square = NULL", t[1].mean_square = NULL);
	(void)WITH("tensors[0].", t[0].n = -1);
	(void)WITH("must not be negative", t[0].n = INT64_MIN / 2); /* times 4 bytes: 0 */
	(void)WITH("length", t[0].n = INT64_MAX);
	(void)WITH("end of memory", t[0].n = INT64_MAX / 2 + 3);
	(void)WITH("end of memory", (t[1].theta = (float *)-64, t[1].n = 17));
	(void)WITH("tensors[1].grad", t[1].grad = (float *)((char *)t[1].grad + 1));
	(void)WITH("tensors[0].step", t[0].step = (float *)((char *)t[0].step + 2));
	(void)WITH("tensors[1].options = 1", t[1].options = 1);
	(void)WITH("tensors[1].options = -1", t[1].options = -1);
	(void)WITH("tensors[1].theta overlaps tensors[0].theta", (t[1].theta = t[0].theta + 3));
	(void)WITH("tensors[0].grad", (t[0].grad = t[0].theta));
	(void)WITH("tensors[1].mean_square overlaps tensors[0].momentum", (t[1].mean_square = t[0].momentum));
	memcpy(t, m.tensors, sizeof t);

#define WITH_OPTIONS(word, change) (o = good, change, 0); REFUSED(word, kernel_step(optimizer, NULL, &o, 1, t, 2, NULL, TO))
	(void)WITH_OPTIONS("options[0]: lr = -1", o.lr = -1);
	(void)WITH_OPTIONS("rho = 1.5", o.rho = 1.5);
	(void)WITH_OPTIONS("eps = NaN", o.eps = NAN);
	(void)WITH_OPTIONS("momentum = 1", o.momentum = 1);
	(void)WITH_OPTIONS("weight_decay = +Inf", o.weight_decay = INFINITY);
	(void)WITH_OPTIONS("clip_value = -1", o.clip_value = -1);
	(void)WITH_OPTIONS("options[0].flags = 0x100", o.flags = 0x100);
	(void)WITH_OPTIONS("first_moment = 1", o.first_moment = 1);
	(void)WITH_OPTIONS("first_moment = 0.5", (o.first_moment = 0.5, o.flags = KERNEL_CENTERED));
	(void)WITH_OPTIONS("excludes KERNEL_BIAS_CORRECTION", o.flags = KERNEL_STEP_CORRECTION | KERNEL_BIAS_CORRECTION);
	(void)WITH_OPTIONS("KERNEL_CENTERED", o.flags = KERNEL_STEP_CORRECTION | KERNEL_CENTERED);
	(void)WITH_OPTIONS("momentum", (o.flags = KERNEL_STEP_CORRECTION, o.momentum = 0.5));
	(void)WITH_OPTIONS("rho of 1", (o.flags = KERNEL_STEP_CORRECTION, o.rho = 1));
	(void)WITH_OPTIONS("corrected for step 1: lr = ", (o.flags = KERNEL_STEP_CORRECTION, o.rho = 0, o.lr = 0x1p64, o.first_moment = 0.5, t[0].momentum = NULL));
	memcpy(t, m.tensors, sizeof t);
	(void)WITH_OPTIONS("tensors[0].momentum: must be NULL", o.first_moment = 0.5);
	(void)WITH_OPTIONS("tensors[1].mean_grad = NULL", (o.first_moment = 0.5, t[0].momentum = NULL, t[1].mean_grad = NULL));
	memcpy(t, m.tensors, sizeof t);
	(void)WITH_OPTIONS("step = NULL", (o.flags = KERNEL_STEP_CORRECTION, t[1].step = NULL));
	memcpy(t, m.tensors, sizeof t);
	(void)WITH_OPTIONS("tensors[1].mean_grad = NULL", (o.flags = KERNEL_CENTERED, t[1].mean_grad = NULL));
	(void)WITH_OPTIONS("tensors[1].momentum = NULL", (o.momentum = 0.5, t[1].momentum = NULL));
	(void)WITH_OPTIONS("step", (o.flags = KERNEL_BIAS_CORRECTION, t[1].step = NULL));
	memcpy(t, m.tensors, sizeof t);
	m.steps[1] = 0.5f;
	(void)WITH_OPTIONS("step = 0.5", o.flags = KERNEL_BIAS_CORRECTION);
	m.steps[1] = 1 << 24; /* to which a float adds no 1 */
	(void)WITH_OPTIONS("step = 1.6777216e+07", o.flags = KERNEL_BIAS_CORRECTION);
	m.steps[1] = NAN;
	(void)WITH_OPTIONS("step = NaN", o.flags = KERNEL_BIAS_CORRECTION);
	(void)WITH_OPTIONS("step = NaN", o.flags = KERNEL_STEP_CORRECTION);
	m.steps[1] = 0.5f;
	(void)WITH_OPTIONS("step = 0.5", o.flags = KERNEL_STEP_CORRECTION);
	m.steps[1] = 0;

#define WITH_SETTINGS(word, change) (memset(&s, 0, sizeof s), change, 0); REFUSED(word, kernel_step(optimizer, &s, &good, 1, t, 2, NULL, TO))
	(void)WITH_SETTINGS("settings.workers = -1", s.workers = -1);
	(void)WITH_SETTINGS("settings.workers", s.workers = INT64_MAX);
	(void)WITH_SETTINGS("loss_scale = -1", s.loss_scale = -1);
	(void)WITH_SETTINGS("loss_scale = NaN", s.loss_scale = NAN);
	(void)WITH_SETTINGS("loss_scale = 1e-60", s.loss_scale = 1e-60);
	(void)WITH_SETTINGS("loss_scale = 1e+60", s.loss_scale = 1e60);
	(void)WITH_SETTINGS("settings.clip_norm = NaN", s.clip_norm = NAN);
	(void)WITH_SETTINGS("settings.clip_norm = -1", s.clip_norm = -1);
	(void)WITH_SETTINGS("settings.flags = 0x4", s.flags = 4);

	REFUSED("optimizer = 999", kernel_step(999, NULL, &good, 1, t, 2, NULL, TO));
	REFUSED("options = NULL", kernel_step(optimizer, NULL, NULL, 1, t, 2, NULL, TO));
	REFUSED("options", kernel_step(optimizer, NULL, &good, -1, t, 2, NULL, TO));
	REFUSED("tensors = NULL", kernel_step(optimizer, NULL, &good, 1, NULL, 2, NULL, TO));
	REFUSED("tensors", kernel_step(optimizer, NULL, &good, 1, t, INT64_MAX / 8, NULL, TO));
	REFUSED("tensors = 0x", kernel_step(optimizer, NULL, &good, 1, (kernel_tensor *)((char *)t + 4), 1, NULL, TO));
	REFUSED("report", kernel_step(optimizer, NULL, &good, 1, t, 2, (kernel_report *)((char *)&report + 1), TO));
	REFUSED("settings", kernel_step(optimizer, (kernel_settings *)((char *)&s + 1), &good, 1, t, 2, NULL, TO));
	CHECK(kernel_step(optimizer, NULL, NULL, 0, NULL, 0, NULL, TO) == KERNEL_OK);

	struct model untouched;
	make(&untouched);
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 5; k++)
			CHECK(memcmp(m.arrays[i][k], untouched.arrays[i][k], (i ? 5 : N) * sizeof(float)) == 0);
		CHECK(m.steps[i] == 0);
	}
	/* And the optimizer works after all that. */
	CHECK(kernel_step(optimizer, NULL, &good, 1, t, 2, &report, TO) == KERNEL_OK && m.steps[0] == 1);
	drop(&m), drop(&untouched);
}

/* ---- The floating-point mode of the caller ---- */

static void set_mode(int mode) {
	static const int rounding[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
	CHECK(fesetround(rounding[mode]) == 0);
#ifdef __SSE__
	_mm_setcsr((_mm_getcsr() & ~0x8040u) | (mode == 4 ? 0x8040 : 0)); /* flush to zero, denormals are zero */
#endif
}

static void test_float_mode(void) {
	enum { MODES = 5, LENGTH = 100000 };
	kernel_options o = {.lr = 1e-3, .rho = 0.9, .eps = 1e-30, .momentum = 0.9, .weight_decay = 0.01, .flags = KERNEL_PYTORCH | KERNEL_CENTERED};
	float *want[5] = {0};
	double want_norm = 0;
	for (int mode = 0; mode < MODES; mode++)
		for (int workers = 1; workers <= 2; workers++) {
			kernel_settings settings = {.workers = workers, .clip_norm = 1e-20};
			kernel_report report;
			float *a[5];
			for (int k = 0; k < 5; k++) {
				a[k] = numbers(LENGTH, 0);
				for (int i = 0; i < LENGTH; i++) { /* theta and grad from subnormal numbers up, by their bits */
					uint32_t bits = k < 2 ? (uint32_t)i * 5003u + 77u * (uint32_t)k : 0;
					memcpy(&a[k][i], &bits, 4);
				}
			}
			kernel_tensor t = {a[0], a[1], a[2], a[3], a[4], NULL, LENGTH, 0};
			set_mode(mode);
			int rounding = fegetround();
#ifdef __SSE__
			unsigned flushing = _mm_getcsr() & 0x8040; /* valgrind has none */
#endif
			for (int step = 0; step < 3; step++) {
				CHECK(kernel_step(0, &settings, &o, 1, &t, 1, &report, TO) == KERNEL_OK);
				CHECK(kernel_update(a[0], a[1], a[2], 999, 1e-36, 0.9, 0, TO) == KERNEL_OK);
			}
			CHECK(fegetround() == rounding); /* it is still the caller's */
#ifdef __SSE__
			CHECK((_mm_getcsr() & 0x8040) == flushing);
#endif
			set_mode(0);
			for (int k = 0; k < 5; k++) {
				if (mode == 0 && workers == 1)
					want[k] = a[k], want_norm = report.norm;
				else {
					CHECK(memcmp(a[k], want[k], LENGTH * sizeof(float)) == 0 && report.norm == want_norm);
					free(a[k]);
				}
			}
		}
	for (int k = 0; k < 5; k++)
		free(want[k]);
}

/* A step at a learning rate of 0 keeps the momentum buffer. */
static void test_zero_rate(void) {
	enum { LENGTH = 100000 };
	for (int workers = 1; workers <= 2; workers++) {
		kernel_settings settings = {.workers = workers};
		kernel_options o = {.rho = 0.5, .eps = 1, .momentum = 0.5, .flags = KERNEL_PYTORCH};
		float *a[4] = {numbers(LENGTH, 1), numbers(LENGTH, 1), numbers(LENGTH, 0), numbers(LENGTH, 0)};
		for (int i = 0; i < LENGTH; i++)
			a[1][i] = 1, a[2][i] = 1, a[3][i] = 0;
		kernel_tensor t = {a[0], a[1], a[2], NULL, a[3], NULL, LENGTH, 0};
		for (int step = 0; step < 3; step++)
			CHECK(kernel_step(0, &settings, &o, 1, &t, 1, NULL, TO) == KERNEL_OK);
		/* s stays 1, so that each step adds 1/2: 1/2, 3/4, 7/8. */
		for (int i = 0; i < LENGTH; i++)
			if (a[3][i] != 0.875f || a[0][i] != 1 + (float)i / 64) {
				printf("workers %d: momentum[%d] = %g, theta[%d] = %g\n", workers, i, a[3][i], i, a[0][i]);
				failures++;
				break;
			}
		for (int k = 0; k < 4; k++)
			free(a[k]);
	}
}

/* ---- The process around the library ---- */

static void test_fork(kernel_optimizer optimizer) {
	const char *isa = kernel_isa();
	float x[3] = {1, 1, 1};
	double sum = 7;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		kernel_options o = {.lr = 0.5, .rho = 0.9, .eps = 1e-7};
		kernel_tensor t = {x, x + 1, x + 2, NULL, NULL, NULL, 1, 0};
		CHECK(kernel_forked() == 1);
		CHECK(kernel_update(x, x + 1, x + 2, 1, 0.1, 0.9, 0, TO) == KERNEL_FORKED && strstr(message, "load another copy"));
		CHECK(kernel_step(optimizer, NULL, &o, 1, &t, 1, NULL, TO) == KERNEL_FORKED);
		CHECK(kernel_sum_squares(x, 3, &sum, TO) == KERNEL_FORKED && sum == 7 && x[0] == 1);
		CHECK(kernel_set_isa("generic", message, 5) == KERNEL_FORKED && strcmp(message, "the ") == 0);
		CHECK(kernel_set_isa("generic", NULL, 0) == KERNEL_FORKED && strcmp(kernel_isa(), isa) == 0);
		CHECK(kernel_optimizer_new() == 0 && strlen(kernel_version()) > 0);
		kernel_optimizer_free(optimizer);
		child = fork();
		if (child == 0)
			_exit(kernel_forked() == 1 && kernel_optimizer_new() == 0 ? failures : 99);
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		fflush(stdout);
		_exit(failures);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(kernel_forked() == 0);
}

static volatile sig_atomic_t seen;

static volatile sig_atomic_t elsewhere;
static char *stack; /* of the only thread that does not block signals */

static void handler(int sig) {
	volatile char large[16384]; /* a goroutine's stack begins with some KiB */
	memset((char *)large, sig, sizeof large);
	seen++;
	if (sig != SIGPROF && sig != SIGCHLD && !((char *)large < stack && (char *)large > stack - (8 << 20)))
		elsewhere++;
}

static int test_signals(void) {
	enum { LARGE = 1 << 21 };
	kernel_options o = {.lr = 0.01, .rho = 0.9, .eps = 1e-7};
	kernel_settings settings = {.workers = 2};
	kernel_tensor t = {numbers(LARGE, 1), numbers(LARGE, 1), numbers(LARGE, 0), NULL, NULL, NULL, LARGE, 0};
	kernel_optimizer optimizer = kernel_optimizer_new();
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 1000}, {0, 1000}};
	sigset_t before, after;
	sigfillset(&action.sa_mask); /* one at a time: a signal stack has room for one */
	stack = (char *)&after + 4096;
	for (int i = 0; i < 400; i++) {
		if (i == 5) { /* after Go was loaded */
			static const int sigs[] = {SIGPROF, SIGALRM, SIGVTALRM, SIGCHLD, SIGUSR1, SIGTERM};
			for (size_t k = 0; k < sizeof sigs / sizeof *sigs; k++)
				CHECK(sigaction(sigs[k], &action, NULL) == 0);
			CHECK(setitimer(ITIMER_PROF, &often, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0 &&
			      setitimer(ITIMER_VIRTUAL, &often, NULL) == 0);
		}
		pthread_sigmask(SIG_SETMASK, NULL, &before);
		CHECK(kernel_step(optimizer, &settings, &o, 1, &t, 1, NULL, TO) == KERNEL_OK);
		pthread_sigmask(SIG_SETMASK, NULL, &after);
		CHECK(memcmp(&before, &after, sizeof before) == 0);
		if (i >= 5)
			kill(getpid(), SIGCHLD), kill(getpid(), SIGUSR1), kill(getpid(), SIGTERM);
	}
	printf("signals seen: %d\n", (int)seen);
	CHECK(seen > 400 && elsewhere == 0);
	if (!failures)
		printf("all passed\n");
	return failures > 0;
}

static int test_limits(void) {
	struct rlimit files;
	kernel_isa();
	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
	printf("open files: %llu\nall passed\n", (unsigned long long)files.rlim_cur);
	return 0;
}

int main(int argc, char **argv) {
	if (argc > 1 && strcmp(argv[1], "signals") == 0)
		return test_signals();
	if (argc > 1 && strcmp(argv[1], "limits") == 0)
		return test_limits();
	if (argc > 1 && strcmp(argv[1], "beyond") == 0) { /* for valgrind to notice */
		float *theta = numbers(33, 1), *grad = numbers(32, 1), *s = numbers(33, 1);
		return kernel_update(theta, grad, s, 33, 0.1, 0.9, 0, TO);
	}
	printf("version %s, %s of %s\n", kernel_version(), kernel_isa(), kernel_isas());
	CHECK(strlen(kernel_version()) > 0);
	REFUSED("name = NULL", kernel_set_isa(NULL, TO));
	REFUSED("nonsense", kernel_set_isa("nonsense", TO));
	char *isas = strdup(kernel_isas()), *rest = isas, *name;
	while ((name = strsep(&rest, ","))) {
		CHECK(kernel_set_isa(name, TO) == KERNEL_OK && strcmp(kernel_isa(), name) == 0);
		for (int n = 0; n < 70; n++)
			test_update(n);
		test_update(40000);
		kernel_optimizer optimizer = kernel_optimizer_new(), other = kernel_optimizer_new();
		CHECK(optimizer != 0 && other != 0 && optimizer != other);
		test_step(optimizer);
		test_step(0);
		test_options();
		test_first_moment(optimizer);
		test_first_moment(0);
		test_float_mode();
		test_zero_rate();
		test_threads();
		test_rows(optimizer);
		test_rows(0);
		test_shared(optimizer);
		test_shared(0);
		test_bad_step(optimizer);
		test_bad_step(0);
		kernel_optimizer_free(other);
		REFUSED("optimizer", kernel_step(other, NULL, NULL, 0, NULL, 0, NULL, TO));
		kernel_optimizer_free(optimizer);
		kernel_optimizer_free(optimizer);
		kernel_optimizer_free(0);
	}
	test_bad_update();
	kernel_optimizer optimizer = kernel_optimizer_new();
	test_fork(optimizer);
	kernel_optimizer_free(optimizer);
	free(isas);
	if (!failures)
		printf("all passed\n");
	return failures > 0;
}
