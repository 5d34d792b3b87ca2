"""Takes RMSProp steps with one of Python's libraries, on one thread.

The benchmark starts this program and talks to it in lines; see peer_child.go.
"""

import os
import sys
import time

MODE = sys.argv[1]
LR, RHO, EPS = map(float, sys.argv[2:5])
HUGE_PAGES = sys.argv[5]

# Before any library reads them.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["NUMPY_MADVISE_HUGEPAGE"] = HUGE_PAGES
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(os.path.dirname(sys.argv[0]), "inductor")
if MODE == "jax":
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

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
        self.grad = grad.copy()
        self.set(theta, s)

    def set(self, theta, s):
        self.theta, self.s = theta.copy(), s.copy()

    def step(self):
        self.s = RHO * self.s + (1 - RHO) * self.grad**2
        self.theta = self.theta - LR / np.sqrt(self.s + EPS) * self.grad

    def sync(self):
        pass

    def get(self):
        return self.theta, self.s


class Torch:
    """torch.optim.RMSprop."""

    foreach = False

    def __init__(self, theta, grad, s):
        self.theta = torch.nn.Parameter(torch.from_numpy(theta.copy()))
        self.theta.grad = torch.from_numpy(grad.copy())
        self.optimizer = torch.optim.RMSprop([self.theta], lr=LR, alpha=RHO, eps=EPS, foreach=self.foreach)
        self.step = self.optimizer.step

    def set(self, theta, s):  # after a step, which makes the state
        with torch.no_grad():
            self.theta.copy_(torch.from_numpy(theta))
            self.mean().copy_(torch.from_numpy(s))

    def mean(self):
        return self.optimizer.state[self.theta]["square_avg"]

    def sync(self):
        pass

    def get(self):
        return self.theta.detach().numpy(), self.mean().numpy()


class TorchForeach(Torch):
    foreach = True


class TorchCompile(Torch):
    foreach = None  # its own choice

    def __init__(self, theta, grad, s):
        super().__init__(theta, grad, s)
        torch.compiler.reset()  # forget other lengths: code for all of them would be slower

        @torch.compile
        def step():
            self.optimizer.step()

        self.step = step


class TensorFlow:
    """The op behind tf.train.RMSPropOptimizer, called directly: a tf.function takes 0.2 ms more."""

    def __init__(self, theta, grad, s):
        self.theta, self.s, self.momentum = tf.Variable(theta), tf.Variable(s), tf.Variable(np.zeros_like(s))
        self.arguments = dict(
            var=self.theta.handle, ms=self.s.handle, mom=self.momentum.handle, grad=tf.constant(grad),
            lr=tf.constant(LR), rho=tf.constant(RHO), momentum=tf.constant(0.0), epsilon=tf.constant(EPS))

    def step(self):
        tf.raw_ops.ResourceApplyRMSProp(**self.arguments)

    def set(self, theta, s):
        self.theta.assign(theta)
        self.s.assign(s)
        self.momentum.assign(np.zeros_like(s))

    def sync(self):
        pass

    def get(self):
        return self.theta.numpy(), self.s.numpy()


class Jax:
    """optax.rmsprop, or without optax the formula, compiled for data that it may overwrite."""

    def __init__(self, theta, grad, s):
        if optax:
            optimizer = optax.rmsprop(LR, decay=RHO, eps=EPS)

            def step(theta, state, grad):
                updates, state = optimizer.update(grad, state, theta)
                return optax.apply_updates(theta, updates), state

            self.state = optimizer.init(jnp.array(theta))
        else:

            def step(theta, s, grad):
                s = RHO * s + (1 - RHO) * grad**2
                return theta - LR / jnp.sqrt(s + EPS) * grad, s

            self.state = jnp.array(s)
        self.compiled = jax.jit(step, donate_argnums=(0, 1))
        self.grad = jnp.array(grad)
        self.set(theta, s)

    def set(self, theta, s):
        self.theta = jnp.array(theta)
        # The mean is the only array in the state.
        self.state = jax.tree_util.tree_map(lambda old: jnp.array(s) if old.shape == s.shape else old, self.state)

    def step(self):
        self.theta, self.state = self.compiled(self.theta, self.state, self.grad)

    def sync(self):
        jax.block_until_ready((self.theta, self.state))

    def get(self):
        (mean,) = (x for x in jax.tree_util.tree_leaves(self.state) if x.shape == self.theta.shape)
        return np.asarray(self.theta), np.asarray(mean)


if MODE == "numpy":
    Library, version = NumPy, np.__version__
elif MODE in ("torch", "torch-foreach", "torch-compile"):
    import torch

    Library = {"torch": Torch, "torch-foreach": TorchForeach, "torch-compile": TorchCompile}[MODE]
    version = torch.__version__
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    if Library is TorchCompile and not hasattr(torch, "compiler"):
        sys.exit(f"PyTorch {version} is too old for torch.compile")
elif MODE == "tensorflow":
    import tensorflow as tf

    Library, version = TensorFlow, tf.__version__
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
elif MODE == "jax":
    import jax
    import jax.numpy as jnp

    Library, version = Jax, jax.__version__
    try:
        import optax

        version += " with optax " + optax.__version__
    except ImportError:
        optax = None
else:
    sys.exit(f"unknown library {MODE}")

print("ready", version, file=answers)
library = None
for line in sys.stdin:
    command, _, rest = line.rstrip("\n").partition(" ")
    if command == "prepare":
        count, _, path = rest.partition(" ")
        library = None  # its memory, before more is taken
        theta, grad, s = np.fromfile(path, "<f4", 3 * int(count)).reshape(3, -1)
        library = Library(theta, grad, s)
        for _ in range(3):  # what is compiled is compiled now
            library.step()
        library.sync()
        library.set(theta, s)
        del theta, grad, s
        print("ok", file=answers)
    elif command == "run":
        steps = range(int(rest))
        start = time.perf_counter_ns()
        for _ in steps:
            library.step()
        library.sync()
        print(time.perf_counter_ns() - start, file=answers)
    elif command == "save":
        with open(rest, "wb") as f:
            for x in library.get():
                f.write(np.ascontiguousarray(x, "<f4").tobytes())
        print("ok", file=answers)
    elif command == "quit":
        break
    else:
        sys.exit(f"unknown command {command}")
