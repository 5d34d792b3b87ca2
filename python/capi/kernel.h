/*
 * kernel.h: RMSProp and Adam steps over float32 arrays, with the same bits on every
 * CPU. This is the C interface of the Go package github.com/seed57504d97/kernel; its
 * documentation says what the options do and which bits come out.
 *
 *     go build -C capi -buildmode=c-shared -o libkernel_rmsprop.so .
 *     cc program.c -I capi ./libkernel_rmsprop.so
 *
 * Every function checks its arguments before it writes anything: NULL, lengths
 * that are negative or reach beyond the end of the address space, addresses that
 * are not aligned for their type, numbers out of range, arrays of float that
 * overlap. If one is wrong, it returns a code other than KERNEL_OK and writes the
 * reason, which names the argument, to message: UTF-8, ended by a zero byte, cut
 * off to fit message_size bytes. message may be NULL if message_size is 0. A
 * pointer to wrong memory is not noticed and can end the process, as in C.
 *
 * No array is kept after a call. All functions may be called from any thread, at
 * the same time, on arrays that do not overlap.
 *
 * The library contains a Go runtime. On Linux it leaves the process around it alone:
 *   - fork: the runtime does not survive one. In the child every function that returns
 *     a code returns KERNEL_FORKED and does nothing else. The child can load another
 *     copy of the file.
 *   - signals: the library's threads block them, and a call blocks them in its thread
 *     until it returns. Handlers of SIGPROF, SIGCHLD and SIGURG get the flag SA_ONSTACK
 *     in each step on more than one thread. A handler without it that is installed while a call is running can
 *     end the process: install it before, or with SA_ONSTACK.
 *   - cores: the threads run on all cores of the process, also if the thread that
 *     loads the library is bound to some of them.
 *   - open files: Go raises the soft limit. When the first call returns, it is what it
 *     was before.
 *
 * The environment variable KERNEL_ISA, such as avx512,avx2, selects the
 * implementation: the first in the list that the CPU supports. Its value when the
 * process started counts.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Codes that functions return. */
#define KERNEL_OK 0
#define KERNEL_INVALID 1 /* an argument is wrong: nothing was written */
#define KERNEL_FAILED 2  /* a fault in the library: arrays may be partly written */
#define KERNEL_FORKED 3  /* this is the child of a fork: nothing was written, see above */

/* kernel_options.flags */
#define KERNEL_NESTEROV (1 << 0)
#define KERNEL_CENTERED (1 << 1)        /* needs kernel_tensor.mean_grad */
#define KERNEL_DECOUPLED_DECAY (1 << 2)
#define KERNEL_MAXIMIZE (1 << 3)
#define KERNEL_EPS_OUTSIDE (1 << 4)     /* sqrt(s) + eps instead of sqrt(s + eps) */
#define KERNEL_LR_OUTSIDE (1 << 5)      /* the momentum buffer does not include lr */
#define KERNEL_BIAS_CORRECTION (1 << 6) /* corrects the means; needs kernel_tensor.step */
#define KERNEL_STEP_CORRECTION (1 << 7) /* corrects the step for the bias, and leaves the means as they are, see below */
/* The conventions of torch.optim.RMSprop. */
#define KERNEL_PYTORCH (KERNEL_EPS_OUTSIDE | KERNEL_LR_OUTSIDE)
/* The conventions of torch.optim.Adam, and with KERNEL_DECOUPLED_DECAY of torch.optim.AdamW. */
#define KERNEL_PYTORCH_ADAM (KERNEL_EPS_OUTSIDE | KERNEL_STEP_CORRECTION)

/* kernel_settings.flags */
#define KERNEL_SKIP_NON_FINITE (1 << 0) /* skips a step with a NaN or an infinity in a gradient, or a norm from 2^64 */
#define KERNEL_ZERO_GRAD (1 << 1)       /* gradients become 0 when they were used, and in a skipped step */

/* What a step does to the tensors that refer to it. All zero but lr, rho and eps
 * is the plain formula:
 *     s     = rho*s + (1-rho)*grad^2
 *     theta = theta - lr/sqrt(s+eps)*grad
 *
 * With first_moment a mean of the gradient takes the gradient's place in the step:
 *     m     = first_moment*m + (1-first_moment)*grad
 *     theta = theta - lr/sqrt(s+eps)*m
 *
 * With KERNEL_BIAS_CORRECTION this is Adam, and s and m are its corrected means. PyTorch
 * keeps the means before their correction. KERNEL_STEP_CORRECTION does so as well, and so its
 * s and m are torch's exp_avg_sq and exp_avg. Step t = 1, 2, ... of a tensor, which is
 * kernel_tensor.step + 1, then uses these, computed in double and rounded to float once:
 *     lr  * sqrt(1-rho^t) / (1-first_moment^t)  for lr
 *     eps * sqrt(1-rho^t)                       for eps, or eps * (1-rho^t) inside the root
 * Both kinds of correction take the same steps except for rounding. Each has the same
 * bits on every CPU. A decoupled decay stays at lr*weight_decay. */
typedef struct kernel_options {
	double lr;           /* in [0, 2^64] */
	double rho;          /* in [0, 1]: the share of the old means that is kept */
	double eps;          /* in units of grad^2, or of grad with KERNEL_EPS_OUTSIDE */
	double momentum;     /* in [0, 1); needs kernel_tensor.momentum if it is not 0 */
	double weight_decay; /* added to the gradient, or subtracted from theta with KERNEL_DECOUPLED_DECAY */
	double clip_value;   /* limits each element of the gradient; 0: no limit */
	double first_moment; /* in [0, 1); needs kernel_tensor.mean_grad if it is not 0; not with
	                        momentum or KERNEL_CENTERED */
	int64_t flags;
} kernel_options;

/* A tensor: arrays of n float32 each. theta and the states are written, grad is
 * read, or set to zero with KERNEL_ZERO_GRAD. No two arrays of a step may overlap,
 * whether or not their tensors have a gradient, except that gradients may be shared
 * without KERNEL_ZERO_GRAD: else the step is refused.
 *
 * step is a counter of each tensor. It is not checked for overlap. After everything
 * else is written, each tensor that was stepped adds 1 to its counter. A counter
 * that two tensors share counts both. A counter inside an array changes an element of
 * it. */
typedef struct kernel_tensor {
	float *theta;
	float *grad;        /* NULL: this step leaves the tensor alone */
	float *mean_square; /* s: starts at 0 */
	float *mean_grad;   /* with KERNEL_CENTERED or options.first_moment, else ignored: starts at 0 */
	float *momentum;    /* with options.momentum, else NULL or kept up: starts at 0; NULL with options.first_moment */
	float *step;        /* NULL, or one float: how many steps have been taken; 1 is added */
	int64_t n;          /* elements; 0 or more */
	int64_t options;    /* which of the step's options */

	/* For a table, such as an embedding, of which a step uses few rows; otherwise 0.
	 * theta is rows of width elements. grad has rows_count of them: its row i is the
	 * gradient of theta's row rows[i]. All other rows of theta and the states are left
	 * alone. A row may be listed twice: its gradients are first added in order, so that
	 * clip_norm limits the norm of the sums. */
	int64_t width;
	const int64_t *rows;
	int64_t rows_count;
} kernel_tensor;

/* What concerns all tensors of a step together. */
typedef struct kernel_settings {
	int64_t workers;  /* how many threads the step may use; 0: one for each CPU */
	double loss_scale; /* the gradients are divided by it; 0 means 1; else in [2^-126, 2^126] */
	double clip_norm; /* limits the norm of all gradients together, as
	                     torch.nn.utils.clip_grad_norm_; 0: no limit, INFINITY: only
	                     measures. A step whose norm is not finite is skipped. */
	int64_t flags;
} kernel_settings;

typedef struct kernel_report {
	double norm;     /* of all gradients together, over loss_scale; 0 unless clip_norm or
	                    KERNEL_SKIP_NON_FINITE asked for it */
	int64_t skipped; /* 1: nothing was written, but gradients by KERNEL_ZERO_GRAD; 0 otherwise */
} kernel_report;

/* What a series of steps remembers of its tensors, by address and length, so that
 * a step on the same tensors as before checks little. 0 is no optimizer. */
typedef uint64_t kernel_optimizer;

/* The plain formula on n elements. No two of the arrays may overlap. */
int32_t kernel_update(float *theta, const float *grad, float *s, int64_t n,
                      double lr, double rho, double eps, char *message, int64_t message_size);

/* Returns a new one, or 0 in the child of a fork. */
kernel_optimizer kernel_optimizer_new(void);

/* Frees what kernel_optimizer_new returned, and ignores anything else, such as 0. */
void kernel_optimizer_free(kernel_optimizer optimizer);

/* One step on many tensors. optimizer is 0, or from kernel_optimizer_new: calls
 * with the same one wait for each other. settings and report may be NULL. */
int32_t kernel_step(kernel_optimizer optimizer, const kernel_settings *settings,
                    const kernel_options *options, int64_t options_count,
                    const kernel_tensor *tensors, int64_t tensors_count,
                    kernel_report *report, char *message, int64_t message_size);

/* Sets sum to x[0]^2 + x[1]^2 + ..., or to 0 if n is 0. */
int32_t kernel_sum_squares(const float *x, int64_t n, double *sum, char *message, int64_t message_size);

/* The instruction set in use: avx512, avx2, neon or generic. */
const char *kernel_isa(void);

/* Those that this CPU can run, best first, with commas between them. */
const char *kernel_isas(void);

/* Makes every later call of the process use the one named, or, if the name is empty,
 * what the library chooses by default. The bits stay the same. */
int32_t kernel_set_isa(const char *name, char *message, int64_t message_size);

/* The version of the library. */
const char *kernel_version(void);

/* 1 in the child of a fork, in which the library cannot be used; 0 otherwise. */
int32_t kernel_forked(void);

#ifdef __cplusplus
}
#endif
#endif
