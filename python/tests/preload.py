"""What the processes of the tests have imported when they start: torch takes seconds."""

import hashlib  # noqa: F401
import os

import torch
import torch.distributed
import torch.distributed.fsdp
import torch.distributed.optim
import torch.nn.parallel

import kernel_rmsprop
from kernel_rmsprop import _library

os.environ.pop("KERNEL_ISA", None)
torch.set_num_threads(1)  # threads of torch would not survive the fork
kernel_rmsprop.RMSprop([torch.nn.Parameter(torch.ones(1))])  # torch imports more here
assert _library._library is None, "each process is to load the library itself"
