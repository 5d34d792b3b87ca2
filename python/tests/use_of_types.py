"""What mypy --strict and pyright make of the package: ci.sh checks this, and nothing runs it."""

from typing_extensions import assert_type

import torch
import kernel_rmsprop
from kernel_rmsprop import Adam, AdamW, RMSprop, isa, isas
p = torch.nn.Parameter(torch.ones(3))
o = RMSprop([p], lr=0.1, clip_norm=1.0)
assert_type(o.step(lambda: torch.ones(1)), torch.Tensor)
assert_type(o.step(lambda: 3.0), float)
o.step()
assert_type(o.grad_norm, float | None)
assert_type(o.loss_scale, float)
o.clip_norm = None
for place in o.placement():
    assert_type(place.kernel, bool)
w = AdamW([p], 0.1, (0.9, 0.99), fused=True, eps_inside=True)
assert_type(w.step(lambda: 3.0), float)
assert_type(Adam([{"params": [p], "lr": torch.tensor(0.1)}]).placement()[0].reason, str)
assert_type(w.grad_norm, float | None)
assert_type(kernel_rmsprop.__version__, str)
assert_type(isa(), str)
assert_type(isas(), list[str])
