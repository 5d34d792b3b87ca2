"""Runs RMSProp steps with one of Python's libraries, on one thread. peer_python.go has the protocol."""

import os
import sys
import time

MODE = sys.argv[1]
LR, RHO, EPS = map(float, sys.argv[2:5])

os.environ.update(  # before any library reads them
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu",
    TF_CPP_MIN_LOG_LEVEL="2", TORCHINDUCTOR_COMPILE_THREADS="1",
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" if MODE == "jax" else "")

# The reason for a failure is enough: the benchmark shows it in one line.
sys.excepthook = lambda kind, reason, _: print(f"{kind.__name__}: {reason}", file=sys.stderr)

# Only answers go to standard output. What libraries print goes to standard error.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import numpy as np

# Each library has a function that gets the data and returns two functions: one runs a step,
# one waits for the steps and returns theta and s.


def with_numpy(theta, grad, s):
    """The published code."""

    def step():
        nonlocal theta, s
        s = RHO * s + (1 - RHO) * grad**2
        theta = theta - LR / np.sqrt(s + EPS) * grad

    return step, lambda: (theta, s)


def with_torch(theta, grad, s):
    """torch.optim.RMSprop."""
    parameter = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    parameter.grad = torch.from_numpy(grad)
    foreach = {"torch": False, "torch-foreach": True}.get(MODE)
    optimizer = torch.optim.RMSprop([parameter], lr=LR, alpha=RHO, eps=EPS, foreach=foreach)
    step = optimizer.step
    if MODE == "torch-compile":
        torch.compiler.reset()  # forget other lengths: code for all lengths would be slower
        step = torch.compile(lambda: optimizer.step())
    for _ in range(3):  # creates the state, and compiles
        step()
    mean = optimizer.state[parameter]["square_avg"]
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(theta))
        mean.copy_(torch.from_numpy(s))
    return step, lambda: (parameter.detach().numpy(), mean.numpy())


def with_tensorflow(theta, grad, s):
    """The op of tf.train.RMSPropOptimizer, called directly: a tf.function needs 0.2 ms more."""
    theta, s, momentum = tf.Variable(theta), tf.Variable(s), tf.Variable(np.zeros_like(s))
    arguments = dict(
        var=theta.handle, ms=s.handle, mom=momentum.handle, grad=tf.constant(grad),
        lr=tf.constant(LR), rho=tf.constant(RHO), momentum=tf.constant(0.0), epsilon=tf.constant(EPS))
    return lambda: tf.raw_ops.ResourceApplyRMSProp(**arguments), lambda: (theta.numpy(), s.numpy())


def with_jax(theta, grad, s):
    """optax.rmsprop, compiled with donated arguments, which it may overwrite."""
    optimizer = optax.rmsprop(LR, decay=RHO, eps=EPS)

    def update(theta, state, grad):
        updates, state = optimizer.update(grad, state, theta)
        return optax.apply_updates(theta, updates), state

    def is_mean(x):  # the only array in the state
        return x.shape == s.shape

    theta, grad = jnp.array(theta), jnp.array(grad)
    state = jax.tree_util.tree_map(lambda x: jnp.array(s) if is_mean(x) else x, optimizer.init(theta))
    compiled = jax.jit(update, donate_argnums=(0, 1))
    compiled.lower(theta, state, grad).compile()

    def step():
        nonlocal theta, state
        theta, state = compiled(theta, state, grad)

    def get():
        (mean,) = filter(is_mean, jax.tree_util.tree_leaves(state))
        return jax.block_until_ready((theta, mean))

    return step, get


if MODE == "numpy":
    library, version = with_numpy, np.__version__
elif MODE.startswith("torch"):
    import torch

    library, version = with_torch, torch.__version__
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
elif MODE == "tensorflow":
    import tensorflow as tf

    library, version = with_tensorflow, tf.__version__
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
else:  # jax
    import jax
    import jax.numpy as jnp
    import optax

    library, version = with_jax, f"{jax.__version__} with optax {optax.__version__}"

print(version, file=answers)
for line in sys.stdin:
    command, _, count = line.strip().partition(" ")
    if command == "load":
        step = get = None  # frees their memory before more is allocated
        step, get = library(*(x.copy() for x in np.fromfile("data", "<f4").reshape(3, -1)))
        print("ok", file=answers)
    elif command == "run":
        start = time.perf_counter_ns()
        for _ in range(int(count)):
            step()
        if MODE == "jax":
            get()
        print(time.perf_counter_ns() - start, file=answers)
    elif command == "save":
        np.concatenate(get()).astype("<f4").tofile("result")
        print("ok", file=answers)
