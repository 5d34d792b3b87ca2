"""Takes RMSProp steps with one of Python's libraries, on one thread.

The benchmark starts this program and talks to it in lines; see peer_python.go.
"""

import os
import sys
import time

MODE = sys.argv[1]
LR, RHO, EPS = map(float, sys.argv[2:5])

os.environ.update(  # before any library reads them
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMPY_MADVISE_HUGEPAGE=sys.argv[5], CUDA_VISIBLE_DEVICES="",
    JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="2", TORCHINDUCTOR_COMPILE_THREADS="1",
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" if MODE == "jax" else "")

# The reason of a failure is enough: the benchmark shows it in a line.
sys.excepthook = lambda kind, reason, _: print(f"{kind.__name__}: {reason}", file=sys.stderr)

# The answers have standard output to themselves; what libraries print goes to
# standard error.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import numpy as np


class NumPy:
    """The published code."""

    def __init__(self, theta, grad, s):
        self.theta, self.grad, self.s = theta.copy(), grad.copy(), s.copy()

    def step(self):
        self.s = RHO * self.s + (1 - RHO) * self.grad**2
        self.theta = self.theta - LR / np.sqrt(self.s + EPS) * self.grad

    def get(self):
        return self.theta, self.s


class Torch:
    """torch.optim.RMSprop."""

    def __init__(self, theta, grad, s):
        self.theta = torch.nn.Parameter(torch.from_numpy(theta.copy()))
        self.theta.grad = torch.from_numpy(grad.copy())
        foreach = {"torch": False, "torch-foreach": True}.get(MODE)
        optimizer = torch.optim.RMSprop([self.theta], lr=LR, alpha=RHO, eps=EPS, foreach=foreach)
        self.step = optimizer.step
        if MODE == "torch-compile":
            torch.compiler.reset()  # forget other lengths: code for all of them would be slower
            self.step = torch.compile(lambda: optimizer.step())
        for _ in range(3):  # makes the state, and compiles
            self.step()
        self.s = optimizer.state[self.theta]["square_avg"]
        with torch.no_grad():
            self.theta.copy_(torch.from_numpy(theta))
            self.s.copy_(torch.from_numpy(s))

    def get(self):
        return self.theta.detach().numpy(), self.s.numpy()


class TensorFlow:
    """The op behind tf.train.RMSPropOptimizer, called directly: a tf.function takes 0.2 ms more."""

    def __init__(self, theta, grad, s):
        self.theta, self.s, self.momentum = tf.Variable(theta), tf.Variable(s), tf.Variable(np.zeros_like(s))
        arguments = dict(
            var=self.theta.handle, ms=self.s.handle, mom=self.momentum.handle, grad=tf.constant(grad),
            lr=tf.constant(LR), rho=tf.constant(RHO), momentum=tf.constant(0.0), epsilon=tf.constant(EPS))
        self.step = lambda: tf.raw_ops.ResourceApplyRMSProp(**arguments)

    def get(self):
        return self.theta.numpy(), self.s.numpy()


class Jax:
    """optax.rmsprop, compiled for data that it may overwrite."""

    def __init__(self, theta, grad, s):
        optimizer = optax.rmsprop(LR, decay=RHO, eps=EPS)

        def step(theta, state, grad):
            updates, state = optimizer.update(grad, state, theta)
            return optax.apply_updates(theta, updates), state

        self.compiled = jax.jit(step, donate_argnums=(0, 1))
        self.theta, self.grad = jnp.array(theta), jnp.array(grad)
        # The mean is the only array in the state.
        self.state = jax.tree_util.tree_map(
            lambda old: jnp.array(s) if old.shape == s.shape else old, optimizer.init(self.theta))
        self.compiled.lower(self.theta, self.state, self.grad).compile()

    def step(self):
        self.theta, self.state = self.compiled(self.theta, self.state, self.grad)

    def get(self):  # which waits for the steps, too
        jax.block_until_ready((self.theta, self.state))
        (mean,) = (x for x in jax.tree_util.tree_leaves(self.state) if x.shape == self.theta.shape)
        return np.asarray(self.theta), np.asarray(mean)


if MODE == "numpy":
    Library, version = NumPy, np.__version__
elif MODE.startswith("torch"):
    import torch

    Library, version = Torch, torch.__version__
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
elif MODE == "tensorflow":
    import tensorflow as tf

    Library, version = TensorFlow, tf.__version__
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
elif MODE == "jax":
    import jax
    import jax.numpy as jnp
    import optax

    Library, version = Jax, f"{jax.__version__} with optax {optax.__version__}"
else:
    sys.exit(f"unknown library {MODE}")

print(version, file=answers)
library = None
for line in sys.stdin:
    command, _, count = line.strip().partition(" ")
    if command == "load":
        library = None  # its memory, before more is taken
        library = Library(*np.fromfile("data", "<f4").reshape(3, -1))
        print("ok", file=answers)
    elif command == "run":
        steps = range(int(count))
        start = time.perf_counter_ns()
        for _ in steps:
            library.step()
        if MODE == "jax":
            jax.block_until_ready((library.theta, library.state))
        print(time.perf_counter_ns() - start, file=answers)
    elif command == "save":
        np.concatenate(library.get()).astype("<f4").tofile("result")
        print("ok", file=answers)
