"""What must not change the bits: the caller's floating-point mode; and a learning rate of 0."""

import pytest
import torch
from processes import python
from test_optimizer import close, parameters, set_grads

from kernel_rmsprop import RMSprop

MODE = """
import hashlib, sys
import numpy as np
import torch
import kernel_rmsprop
flush, options, threads = sys.argv[1] == "flush", dict(centered=True, momentum=0.9, weight_decay=0.01) if sys.argv[2] == "all" else {}, int(sys.argv[3])
if flush:
    assert torch.set_flush_denormal(True)
    assert torch.tensor([1e-38]).mul(0.1).item() == 0
torch.get_num_threads = lambda: threads
g = torch.Generator().manual_seed(1)
# Numbers whose products and differences are subnormal.
tiny = torch.tensor(2.0) ** torch.randint(-126, -90, (300_001,), generator=g)
p = torch.nn.Parameter(tiny * torch.randn(tiny.shape, generator=g).sign())
o = kernel_rmsprop.RMSprop([p], lr=1e-3, eps=1e-30, clip_norm=1e-20, **options)
theta = (np.arange(1000, dtype=np.uint32) * 16411).view(np.float32)  # half of them subnormal
grads, s = theta.copy()[::-1].copy(), np.zeros(1000, np.float32)
for step in range(4):
    p.grad = (tiny * torch.randn(tiny.shape, generator=g)).roll(step * 1000)
    if not flush:
        p.grad[p.grad.abs() < 2.0**-126] = 0  # as torch's own arithmetic has it in the other mode
    o.step()
    kernel_rmsprop.update(theta, grads, s, 1e-36, 0.9, 0)
if flush:
    assert torch.tensor([1e-38]).mul(0.1).item() == 0, "the caller's mode is what it was"
h = hashlib.sha256()
for t in (p, *o.state[p].values()):
    h.update(t.detach().numpy().tobytes())
h.update(theta.tobytes() + s.tobytes())
print(h.hexdigest(), o.grad_norm)
"""


@pytest.mark.parametrize("options", ["plain", "all"])
def test_floating_point_mode(options):
    """torch.set_flush_denormal(True) is the calling thread's alone."""
    said = {tuple(python(MODE, mode, options, threads)) for mode in ("default", "flush") for threads in (1, 2)}
    assert len(said) == 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lr", [0.0, 1e-42, 1e-30])
def test_steps_at_a_learning_rate_of_zero_keep_the_momentum(lr, threads):
    torch.set_num_threads(threads)
    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        params = parameters((300_001,), (5,))
        o = cls(params, lr=0.01, momentum=0.9)
        for step in range(8):
            set_grads(params, step)
            o.param_groups[0]["lr"] = lr if 2 <= step < 5 else 0.01
            o.step()
        results.append((params, [o.state[p]["momentum_buffer"] for p in params]))
    for got, want in zip(results[-1], results[0]):
        for a, b in zip(got, want):
            close(a, b)
