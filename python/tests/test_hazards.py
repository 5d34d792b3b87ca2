"""What a process may do around the library: fork, threads, signals, its end."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from processes import python

import kernel_rmsprop
from kernel_rmsprop import _library


def fresh(script, *arguments, exitcode=0, **environment):
    """Runs a script in a new interpreter without torch, and returns the words that it has written."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + textwrap.dedent(script), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == exitcode, done.stdout + done.stderr
    return (done.stdout + done.stderr).split()


WITHOUT_TORCH = """
import os, sys, threading, time
import numpy as np
import kernel_rmsprop
"""


def with_torch(script, *arguments):
    return python(WITH_TORCH + textwrap.dedent(script), *arguments)


WITH_TORCH = """
import hashlib, os, sys, threading, time
import numpy as np
import torch
import kernel_rmsprop
torch.get_num_threads = lambda: 2  # for us alone: threads of torch do not survive a fork

def make(n=200_001, seed=0):
    g = torch.Generator().manual_seed(seed)
    p = torch.nn.Parameter(torch.randn(n, generator=g))
    return p, kernel_rmsprop.RMSprop([p], momentum=0.9)

def train(p, o, steps=5, start=0):
    for step in range(start, start + steps):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
        o.step()
    return hashlib.sha256(p.detach().numpy().tobytes()).hexdigest()
"""


def test_imports_without_torch():
    assert fresh(
        """
        sys.modules["torch"] = None
        x = np.ones(3, np.float32)
        kernel_rmsprop.update(x, x.copy(), x * 0, 0.1, 0.9, 0)
        assert x[0] != 1
        try:
            kernel_rmsprop.RMSprop
        except ImportError:
            print("fine")
        """
    ) == ["fine"]


FORKED = """
p, o = make()
used = sys.argv[1] == "used"
if used:
    train(p, o)
    kernel_rmsprop.set_isa("generic")
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        # Two workers, and garbage: what hung without a runtime of its own.
        now = kernel_rmsprop.isa()
        h = train(p, o, 5, 5 if used else 0)
        for _ in range(20):
            train(*make(50_000), 1)
        os.write(1, f"{h} {now}\\n".encode())
        os._exit(0)
    children.append(child)
status = [os.waitpid(c, 0)[1] for c in children]
print(train(p, o, 5, 5 if used else 0), kernel_rmsprop.isa())
assert status == [0] * 4
"""


@pytest.mark.parametrize("used", ["used", "unused"])
def test_fork(used):
    out = with_torch(FORKED, used)
    assert len(out) == 10 and len(set(out[::2])) == 1
    if used == "used":
        assert set(out[1::2]) == {"generic"}


def test_fork_of_a_fork():
    out = with_torch(
        """
        p, o = make()
        train(p, o)
        for depth in range(3):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                break
            os.write(1, (train(*make()) + "\\n").encode())
        else:
            depth = 3
        if depth == 0:
            print(train(*make()))
        else:
            os._exit(0)
        """
    )
    assert len(out) == 4 and len(set(out)) == 1


def test_fork_while_another_thread_is_loading():
    """The child waits until it is there: half of a library is none that it could use."""
    out = with_torch(
        """
        from kernel_rmsprop import _library
        loading = threading.Event()
        class Slow(_library.Library):
            def __init__(self, path):
                super().__init__(path)
                loading.set()
                time.sleep(0.3)
        _library.Library, whole = Slow, _library.Library
        t = threading.Thread(target=kernel_rmsprop.isa)
        t.start()
        loading.wait()
        child = os.fork()
        if child == 0:
            _library.Library = whole
            os.write(1, f"{_library.library().c._handle} {train(*make())}\\n".encode())
            os._exit(0)
        t.join()
        assert os.waitpid(child, 0)[1] == 0
        print(_library.library().c._handle, train(*make()))
        """
    )
    assert len(out) == 4 and out[0] != out[2] and out[1] == out[3]


def test_fork_of_a_fork_without_open_files():
    """As daemons do: the copies would get the same number, and so the same name."""
    out = with_torch(
        """
        from kernel_rmsprop import _library
        for generation in range(4):
            os.closerange(3, 1000)
            os.write(1, f"{_library.library().c._handle} {train(*make())}\\n".encode())
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                break
        if generation:
            os._exit(0)
        """
    )
    assert len(set(out[::2])) == 4 and len(set(out[1::2])) == 1


def test_fork_while_another_thread_is_in_a_step():
    out = with_torch(
        """
        p, o = make(2_000_000)
        train(p, o, 1)
        stop = []
        def work():
            while not stop:
                train(p, o, 1)
        t = threading.Thread(target=work)
        t.start()
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os.write(1, (train(*make()) + "\\n").encode())
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.append(1)
        t.join()
        print(train(*make()))
        """
    )
    assert len(out) == 6 and len(set(out)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_data_loader_with_workers(when):
    out = with_torch(
        """
        from torch.utils.data import DataLoader, TensorDataset
        p, o = make()
        if sys.argv[1] == "before":
            train(p, o, 1)
        loader = DataLoader(TensorDataset(torch.ones(64, 3)), batch_size=8, num_workers=2, multiprocessing_context="fork")
        n = 0
        for epoch in range(2):
            for (x,) in loader:
                train(p, o, 1)
                n += len(x)
        print(n)
        """,
        when,
    )
    assert out == ["128"]


def test_multiprocessing():
    assert with_torch(
        """
        import multiprocessing
        here = train(*make())
        def run():
            assert train(*make()) == here
        children = [multiprocessing.get_context("fork").Process(target=run) for _ in range(3)]
        for c in children: c.start()
        for c in children: c.join()
        print([c.exitcode for c in children] == [0] * 3)
        """
    ) == ["True"]


def test_without_memfd(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(RuntimeError, match="spawn"):
        _library._load_private_copy()


@pytest.mark.parametrize(
    "value", ["nonsense", "nonsense,generic", " generic ", "generic,avx2", "", ",", "avx512,nonsense"]
)
def test_environment(value):
    out = fresh("print(kernel_rmsprop.isa(), ','.join(kernel_rmsprop.isas()))", KERNEL_ISA=value)
    names = [n.strip() for n in value.split(",") if n.strip() in out[1].split(",")]
    assert out[0] == (names or out[1].split(","))[0]
    out = fresh("os.environ['KERNEL_ISA'] = sys.argv[1]\nprint(kernel_rmsprop.isa())", value)
    assert out[0] == (names or kernel_rmsprop.isas())[0]


def test_two_copies(tmp_path):
    shutil.copy(_library._path(), tmp_path / "other.so")
    assert with_torch(
        """
        from kernel_rmsprop import _library
        other = _library.Library(sys.argv[1])
        other.call(other.c.kernel_set_isa, b"generic")
        here = train(*make())
        first, _library._library = _library._library, other
        there = train(*make())
        _library._library = first
        print(here == there, other.c.kernel_isa().decode(), kernel_rmsprop.isa() == kernel_rmsprop.isas()[0], train(*make()) == here)
        """,
        tmp_path / "other.so",
    ) == ["True", "generic", "True", "True"]


def test_threads():
    assert with_torch(
        """
        want = train(*make())
        found = []
        threading.stack_size(64 * 1024)
        def work():
            for _ in range(5):
                p, o = make()
                found.append(train(p, o))
                kernel_rmsprop.set_isa(kernel_rmsprop.isas()[len(found) % 2 - 1])
        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(len(found), set(found) == {want})
        """
    ) == ["40", "True"]


# Calls of some 0.1 s.
LONG = """
n = 20_000_000
theta, grad, s = (np.full(n, v, np.float32) for v in (1, 1, 0))
kernel_rmsprop.set_isa("generic")
"""


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_signals_during_a_call(how):
    script = (
        WITHOUT_TORCH
        + LONG
        + """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
try:
    print("go", flush=True)
    while True:
        kernel_rmsprop.update(theta, grad, s, 0.1, 0.9, 0)
except KeyboardInterrupt:
    # At the end of a call: all of it is done.
    print(bool((s == s[0]).all() and (theta == theta[0]).all()), flush=True)
"""
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "go\n"
        time.sleep(0.3)
        child.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
        out, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    if how == "interrupt":
        assert out == "True\n" and child.returncode == 0
    else:
        assert child.returncode == -signal.SIGTERM


def test_exit_during_a_call():
    assert fresh(
        LONG
        + textwrap.dedent(
            """
            def work():
                while True:
                    kernel_rmsprop.update(theta, grad, s, 0.1, 0.9, 0)
            threading.Thread(target=work, daemon=True).start()
            time.sleep(0.2)
            print("end")
            """
        ),
        
    ) == ["end"]


def test_faulthandler():
    """Go's handlers leave the faults of others to those who had them before."""
    out = fresh(
        """
        import ctypes, faulthandler
        faulthandler.enable()
        kernel_rmsprop.isa()
        ctypes.string_at(0)
        """,
        exitcode=-signal.SIGSEGV,
    )
    assert "Segmentation" in out and "string_at" in out


def test_gil_is_released():
    assert fresh(
        LONG
        + textwrap.dedent(
            """
            seen = []
            def count():
                while not stop:
                    seen.append(time.perf_counter())
                    time.sleep(0.001)
            stop = []
            t = threading.Thread(target=count); t.start()
            start = time.perf_counter()
            kernel_rmsprop.update(theta, grad, s, 0.1, 0.9, 0)
            end = time.perf_counter()
            stop.append(1); t.join()
            print(len([x for x in seen if start < x < end]) > 3)
            """
        ),
        
    ) == ["True"]


def test_optimizers_are_freed():
    assert with_torch(
        """
        import gc
        from kernel_rmsprop import _library
        numbers = []
        for i in range(200):
            p, o = make(10)
            train(p, o, 1)
            plan, = o._plans.values()
            numbers.append(plan.number)
            del p, o, plan
        gc.collect()
        lib = _library.library()
        refused = 0
        for n in numbers:
            try:
                lib.call(lib.c.kernel_step, n, None, None, 0, None, 0, None)
            except ValueError:
                refused += 1
        print(refused, len(set(numbers)))
        """
    ) == ["200", "200"]


def test_missing_library(tmp_path):
    out = fresh(
        """
        try:
            kernel_rmsprop.isa()
        except ImportError as e:
            print("missing" in str(e) and "pip" in str(e))
        """,
        
        KERNEL_RMSPROP_LIBRARY=str(tmp_path / "none.so"),
    )
    assert out == ["True"]
