"""Runs RMSProp or Adam steps with the framework that its argument names.

It reads one JSON object from standard input: theta, a list with one gradient for each
step, and cases, which are RMSProp's fields. It answers with one JSON object: the
framework's version and, for each case, theta after each step, and s, m and b after the
last one if the framework shows them. If the framework is not installed, it answers with
the name of what is missing.
"""

import json
import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["OMP_NUM_THREADS"] = "1"

# Only the answer goes to standard output. What libraries print goes to standard error.
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def listed(x):
    """A float32 array as numbers that JSON carries without loss."""
    return [float(e) for e in x]


def corrected(o, steps, s, m):
    """The state after so many steps of Adam, whose means a framework keeps uncorrected."""
    return {"s": s / (1 - o["Rho"] ** steps), "m": m / (1 - o["FirstMoment"] ** steps)}


class NumPy:
    """The published code."""

    def __init__(self):
        import numpy

        self.np, self.version = numpy, numpy.__version__

    def steps(self, o, theta, grads):
        np = self.np
        theta = np.array(theta, np.float32)
        s = np.zeros_like(theta)
        lr, rho, eps = o["LR"], o["Rho"], o["Eps"]
        for grad in grads:
            grad = np.array(grad, np.float32)
            s = rho * s + (1 - rho) * grad**2
            theta = theta - lr / np.sqrt(s + eps) * grad
            yield theta, {"s": s}


class PyTorch:
    """torch.optim.RMSprop, Adam and AdamW."""

    def __init__(self):
        import torch

        self.torch, self.version = torch, torch.__version__

    def steps(self, o, theta, grads):
        torch = self.torch
        theta = torch.tensor(theta, dtype=torch.float32, requires_grad=True)
        common = {"lr": o["LR"], "eps": o["Eps"], "weight_decay": o["WeightDecay"], "maximize": o["Maximize"]}
        if o["FirstMoment"]:
            make = torch.optim.AdamW if o["DecoupledDecay"] else torch.optim.Adam
            optimizer = make([theta], betas=(o["FirstMoment"], o["Rho"]), **common)
        else:
            optimizer = torch.optim.RMSprop(
                [theta], alpha=o["Rho"], momentum=o["Momentum"], centered=o["Centered"], **common
            )
        names = {"s": "square_avg", "m": "grad_avg", "b": "momentum_buffer"}
        for step, grad in enumerate(grads, 1):
            theta.grad = torch.tensor(grad, dtype=torch.float32)
            optimizer.step()
            state = optimizer.state[theta]
            if o["FirstMoment"]:
                shown = corrected(o, step, state["exp_avg_sq"], state["exp_avg"])
            else:
                shown = {k: state[v] for k, v in names.items() if v in state}
            yield theta.detach(), shown


class TensorFlow:
    """The operations below tf.compat.v1.train's RMSPropOptimizer and AdamOptimizer."""

    def __init__(self):
        import tensorflow

        self.tf, self.version = tensorflow, tensorflow.__version__

    def steps(self, o, theta, grads):
        tf = self.tf
        theta = tf.Variable(theta, dtype=tf.float32)
        s = tf.Variable(tf.fill(theta.shape, tf.constant(o["InitialMeanSquare"], tf.float32)))
        m, b = tf.Variable(tf.zeros_like(theta)), tf.Variable(tf.zeros_like(theta))
        arguments = {
            "var": theta.handle,
            "ms": s.handle,
            "mom": b.handle,
            "lr": o["LR"],
            "rho": o["Rho"],
            "momentum": o["Momentum"],
            "epsilon": o["Eps"],
        }
        adam = {
            "var": theta.handle,
            "m": m.handle,
            "v": s.handle,
            "lr": o["LR"],
            "beta1": o["FirstMoment"],
            "beta2": o["Rho"],
            "epsilon": o["Eps"],
        }
        powers = tf.constant([o["FirstMoment"], o["Rho"]], tf.float32)
        power = powers
        for step, grad in enumerate(grads, 1):
            grad = tf.constant(grad, tf.float32)
            if o["FirstMoment"]:
                tf.raw_ops.ResourceApplyAdam(beta1_power=power[0], beta2_power=power[1], grad=grad, **adam)
                power *= powers
                yield theta.numpy(), corrected(o, step, s.numpy(), m.numpy())
                continue
            if o["Centered"]:
                tf.raw_ops.ResourceApplyCenteredRMSProp(mg=m.handle, grad=grad, **arguments)
            else:
                tf.raw_ops.ResourceApplyRMSProp(grad=grad, **arguments)
            yield theta.numpy(), {"s": s.numpy(), "m": m.numpy(), "b": b.numpy()}


class Keras:
    """keras.optimizers.RMSprop and Adam, on whichever backend Keras is set to."""

    def __init__(self):
        import keras

        if int(keras.__version__.split(".")[0]) < 3:
            raise ImportError(f"Keras 3: this is {keras.__version__}")
        self.keras, self.version = keras, f"{keras.__version__} on {keras.backend.backend()}"

    def steps(self, o, theta, grads):
        keras = self.keras
        theta = keras.Variable(theta, dtype="float32")
        common = {"learning_rate": o["LR"], "epsilon": o["Eps"], "weight_decay": o["WeightDecay"] or None}
        if o["FirstMoment"]:
            optimizer = keras.optimizers.Adam(beta_1=o["FirstMoment"], beta_2=o["Rho"], **common)
        else:
            optimizer = keras.optimizers.RMSprop(
                rho=o["Rho"], momentum=o["Momentum"], centered=o["Centered"], **common
            )
        for grad in grads:
            optimizer.apply([keras.ops.convert_to_tensor(grad, dtype="float32")], [theta])
            yield keras.ops.convert_to_numpy(theta), {}


class Optax:
    """optax.rmsprop and adamw, compiled."""

    def __init__(self):
        import jax
        import optax

        self.jax, self.optax = jax, optax
        self.version = f"{optax.__version__} on jax {jax.__version__}"

    def steps(self, o, theta, grads):
        jax, optax = self.jax, self.optax
        if o["FirstMoment"]:
            optimizer = optax.adamw(
                o["LR"],
                b1=o["FirstMoment"],
                b2=o["Rho"],
                eps=o["Eps"] if o["EpsOutside"] else 0,
                eps_root=0 if o["EpsOutside"] else o["Eps"],
                weight_decay=o["WeightDecay"],
            )
        else:
            optimizer = optax.rmsprop(
                o["LR"],
                decay=o["Rho"],
                eps=o["Eps"],
                initial_scale=o["InitialMeanSquare"],
                eps_in_sqrt=not o["EpsOutside"],
                centered=o["Centered"],
                momentum=o["Momentum"] or None,
                nesterov=o["Nesterov"],
                bias_correction=o["BiasCorrection"],
            )

        @jax.jit
        def step(theta, grad, state):
            updates, state = optimizer.update(grad, state, theta)
            return optax.apply_updates(theta, updates), state

        theta = jax.numpy.array(theta, jax.numpy.float32)
        state = optimizer.init(theta)
        # optax subtracts by adding what is negative: so is its trace.
        names = {"nu": ("s", 1), "mu": ("m", 1), "trace": ("b", -1)}
        if o["BiasCorrection"]:  # its nu and mu are those before the correction
            del names["nu"], names["mu"]
        for count, grad in enumerate(grads, 1):
            theta, state = step(theta, jax.numpy.array(grad, jax.numpy.float32), state)
            shown = {}
            if o["FirstMoment"]:
                shown = corrected(o, count, state[0].nu, state[0].mu)
            for part in state:
                for name, (ours, sign) in names.items():
                    if hasattr(part, name):
                        shown[ours] = sign * getattr(part, name)
            yield theta, shown


def main():
    question = json.load(sys.stdin)
    try:
        framework = globals()[sys.argv[1]]()
    except ImportError as reason:
        return {"missing": str(reason)}
    cases = []
    for o in question["cases"]:
        thetas = []
        for theta, state in framework.steps(o, question["theta"], question["grads"]):
            thetas.append(listed(theta))
        cases.append({"thetas": thetas, "state": {k: listed(v) for k, v in state.items()}})
    return {"version": framework.version, "cases": cases}


json.dump(main(), answer)
