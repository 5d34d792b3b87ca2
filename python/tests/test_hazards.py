"""What a process may do around the library: fork, threads, signals, its end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

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


@pytest.mark.parametrize("missing", ["memfd_create", "/proc"])
def test_fork_without(missing):
    """The copy is then a temporary file."""
    out = with_torch(
        """
        from kernel_rmsprop import _library
        here = train(*make())
        class Without(_library.Library):
            def __init__(self, path):
                if path.startswith("/proc"):
                    raise ImportError("no /proc")
                super().__init__(path)
        if sys.argv[1] == "/proc":
            _library.Library = Without
        else:
            del os.memfd_create
        child = os.fork()
        if child == 0:
            os.write(1, train(*make()).encode())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("", here)
        """,
        missing,
    )
    assert len(out) == 2 and out[0] == out[1]


# fork as C has it: Python knows nothing of it.
PLAIN_FORK = """
import ctypes, gc
plain_fork = ctypes.PyDLL(None).fork

def child(work):
    number = plain_fork()
    if number == 0:
        try:
            os.write(1, (str(work()) + "\\n").encode())
        finally:
            os._exit(0)
    return number

def wait(number):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if os.waitpid(number, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
    os.kill(number, 9)
    os.write(1, b"hung\\n")
    os.waitpid(number, 0)
"""


@pytest.mark.parametrize("used", ["used", "loaded", "unused"])
def test_plain_fork(used):
    """The optimizer that the child has inherited goes on, and a child of the child's does."""
    out = with_torch(
        PLAIN_FORK
        + textwrap.dedent(
            """
            p, o = make()
            if sys.argv[1] == "used":
                train(p, o)
            if sys.argv[1] != "unused":
                kernel_rmsprop.set_isa("generic")
            def work():
                grandchild = child(lambda: train(p, o) + kernel_rmsprop.isa())
                wait(grandchild)
                gc.collect()
                return train(p, o) + kernel_rmsprop.isa()
            numbers = [child(work) for _ in range(3)]
            for number in numbers: wait(number)
            print(train(p, o) + kernel_rmsprop.isa())
            """
        ),
        used,
    )
    assert len(out) == 7 and len(set(out)) == 1
    assert used == "unused" or out[0].endswith("generic")


def test_plain_fork_while_another_thread_steps():
    """It holds the optimizer's lock then, which nobody gives back in the child.

    Python's own locks are made new there, as uWSGI does with threads.
    """
    out = with_torch(
        PLAIN_FORK
        + textwrap.dedent(
            """
            sys.setswitchinterval(1000)  # Python must not wait for the other thread before its locks are new
            p, o = make(2_000_000)
            train(p, o, 1)
            stop = []
            def steps():
                while not stop:
                    o.step()
            t = threading.Thread(target=steps)
            t.start()
            def work():
                ctypes.pythonapi.PyOS_AfterFork_Child()
                o.step()
                return train(*make())
            for _ in range(8):
                wait(child(work))
                time.sleep(0.005)
            stop.append(1)
            t.join()
            print(train(*make()))
            """
        )
    )
    assert len(out) == 9 and len(set(out)) == 1


def test_plain_fork_while_another_thread_is_loading():
    out = with_torch(
        PLAIN_FORK
        + textwrap.dedent(
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
            _library.Library = whole
            wait(child(lambda: train(*make())))
            t.join()
            print(train(*make()))
            """
        )
    )
    assert len(out) == 2 and out[0] == out[1]


@pytest.mark.parametrize("fork", ["plain_fork", "os.fork"])
def test_fork_into_the_same_process_number(fork):
    """As the first process of a container that makes another one."""
    script = (
        WITHOUT_TORCH
        + PLAIN_FORK
        + """
def run():
    x = np.ones(100, np.float32)
    kernel_rmsprop.update(x, x.copy(), x * 0, 0.1, 0.9, 0)
    return x[0] != 1
def nested(depth):
    if os.getpid() != 1:
        return "not 1"
    done = run()
    if depth:
        assert unshare(0x20000000) == 0  # CLONE_NEWPID
        number = FORK()
        if number == 0:
            nested(depth - 1)
            os._exit(0)
        os.waitpid(number, 0)
    os.write(1, f"{done}\\n".encode())
unshare = ctypes.CDLL(None).unshare
if unshare(0x20000000):
    sys.exit("may not")
number = os.fork()
if number == 0:
    nested(2)
    os._exit(0)
os.waitpid(number, 0)
""".replace("FORK", fork)
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    if "may not" in done.stderr:
        pytest.skip("this process may not make namespaces")
    assert done.stdout.split() == ["True"] * 3, done.stderr


UWSGI = """
import os
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import kernel_rmsprop

def run():
    x = np.ones(1_000_000, np.float32)
    kernel_rmsprop.update(x, x.copy(), x * 0, 0.1, 0.9, 0)
    library = kernel_rmsprop._library.library()
    table = np.zeros((1, kernel_rmsprop._library.TENSOR_WORDS), np.int64)
    arrays = [x, x.copy(), x * 0]
    table[0, :3] = [a.ctypes.data for a in arrays]
    table[0, kernel_rmsprop._library.LENGTH] = len(x)
    options = kernel_rmsprop._library.Options(lr=0.1, rho=0.9, eps=1e-7)
    settings = kernel_rmsprop._library.Settings(workers=2)
    import ctypes
    for _ in range(20):
        library.call(library.c.kernel_step, 0, ctypes.addressof(settings), ctypes.addressof(options), 1, table.ctypes.data, 1, None)
    return f"{os.getpid()} {x.sum():.6f}"

run()  # in the master, before it forks

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [run().encode()]
"""


@pytest.mark.parametrize("flags", [[], ["--enable-threads"]], ids=["default", "threads"])
def test_uwsgi(tmp_path, flags):
    """Its master loads the application, and forks in C."""
    uwsgi = Path(sys.executable).with_name("uwsgi")
    if not uwsgi.exists():
        pytest.skip("there is no uwsgi")
    (tmp_path / "app.py").write_text(UWSGI)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [uwsgi, "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2", "--wsgi-file", tmp_path / "app.py",
         "--venv", sys.prefix, "--die-on-term", *flags],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])},
    )  # fmt: skip
    try:
        said = []
        end = time.monotonic() + 60
        while len(said) < 6 and time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=20) as answer:
                    said.append(answer.read().decode().split())
            except (ConnectionError, urllib.error.URLError):
                time.sleep(0.2)
    finally:
        server.terminate()
        log = server.communicate(timeout=30)[0]
    assert len(said) == 6 and len({total for _, total in said}) == 1, log


def test_vmprof(tmp_path):
    """A profiler whose handler of SIGPROF asks for no signal stack."""
    pytest.importorskip("vmprof")
    out = fresh(
        """
        import vmprof
        library = kernel_rmsprop._library.library()
        from kernel_rmsprop._library import Options, Settings, TENSOR_WORDS, LENGTH
        import ctypes
        with open(sys.argv[1], "w+b") as file:
            vmprof.enable(file.fileno(), period=0.001)
            arrays = [np.ones(4_000_000, np.float32) for _ in range(3)]
            table = np.zeros((1, TENSOR_WORDS), np.int64)
            table[0, :3] = [a.ctypes.data for a in arrays]
            table[0, LENGTH] = 4_000_000
            options, settings = Options(lr=0.1, rho=0.9, eps=1e-7), Settings(workers=2)
            for _ in range(300):
                library.call(library.c.kernel_step, 0, ctypes.addressof(settings), ctypes.addressof(options), 1, table.ctypes.data, 1, None)
            vmprof.disable()
        print("fine")
        """,
        tmp_path / "profile",
    )
    assert out[0] == "fine", out


BOUND = """
import os, sys
if sys.argv[1] == "openmp":
    import torch
elif sys.argv[1] == "thread":
    import threading
    end = threading.Event()
    threading.Thread(target=end.wait).start()  # which keeps the cores of the process
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
before = os.sched_getaffinity(0)
known = set(os.listdir("/proc/self/task"))
import kernel_rmsprop
kernel_rmsprop.isa()
assert os.sched_getaffinity(0) == before
threads = [os.sched_getaffinity(int(t)) for t in set(os.listdir("/proc/self/task")) - known]
assert len(threads) > 2
print(*sorted({len(t) for t in threads}), len(before), flush=True)
if sys.argv[1] == "thread":
    end.set()
"""


@pytest.mark.parametrize("how", ["openmp", "thread", "process"])
def test_cores(how):
    """A thread bound to one core loads the library. All of the process's are limited to one, and nothing changes that."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        pytest.skip("there is one core")
    one = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", BOUND, how], capture_output=True, text=True, timeout=120,
        env={**os.environ, **({"OMP_PROC_BIND": "close"} if how == "openmp" else {}), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=(lambda: os.sched_setaffinity(0, {one})) if how == "process" else None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(1 if how == "process" else cores), "1"]


def test_threads_of_a_bound_caller():
    """Threads that are made during a call do not inherit the caller's core."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        pytest.skip("there is one core")
    affinities = fresh(
        """
        import ctypes
        from kernel_rmsprop._library import LENGTH, TENSOR_WORDS, Options, Settings, library
        known = set(os.listdir("/proc/self/task"))
        lib = library()
        loaded = set(os.listdir("/proc/self/task"))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        arrays = [np.ones(4_000_000, np.float32) for _ in range(3)]
        table = np.zeros((1, TENSOR_WORDS), np.int64)
        table[0, :3] = [a.ctypes.data for a in arrays]
        table[0, LENGTH] = 4_000_000
        options, settings = Options(lr=0.1, rho=0.9, eps=1e-7), Settings(workers=32)
        end = time.monotonic() + 60
        threads = loaded
        while len(threads - loaded) <= 2 and time.monotonic() < end:
            lib.call(lib.c.kernel_step, 0, ctypes.addressof(settings), ctypes.addressof(options), 1, table.ctypes.data, 1, None)
            threads = set(os.listdir("/proc/self/task"))
        print(*sorted({len(os.sched_getaffinity(int(t))) for t in threads - known}) if threads - loaded else [])
        """,
        GOMAXPROCS="32",  # as on a machine with many cores: the threads that Go has after loading do not suffice
    )
    if not affinities:
        pytest.skip("Go needed no new thread")
    assert affinities == [str(cores)]


def test_open_files():
    """The limit does not change, not even for children."""
    assert fresh(
        """
        import resource, subprocess
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (777, hard))
        kernel_rmsprop.isa()
        print(*resource.getrlimit(resource.RLIMIT_NOFILE) == (777, hard) and subprocess.check_output(["sh", "-c", "ulimit -Sn"], text=True).split())
        """
    ) == ["777"]


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


@pytest.mark.parametrize("gradient", ["contiguous", "transposed", "expanded", "negated", "conjugated"])
def test_threads_step_one_optimizer(gradient):
    """Their steps wait for each other: as many steps in one thread give the same bits."""
    assert with_torch(
        """
        threads, steps = 6, 40
        def prepare():
            g = torch.Generator().manual_seed(3)
            dtype = torch.complex64 if sys.argv[1] == "conjugated" else torch.float32
            params = [torch.nn.Parameter(torch.randn(n, 200, generator=g, dtype=dtype)) for n in (200, 50)]
            for p in params:
                grad = torch.randn(p.shape, generator=g, dtype=dtype)
                p.grad = {
                    "contiguous": lambda: grad,
                    "transposed": lambda: grad.t().contiguous().t(),
                    "expanded": lambda: grad[:1].expand_as(p),
                    "negated": lambda: torch._neg_view(grad),
                    "conjugated": lambda: grad.conj(),
                }[sys.argv[1]]()
            return params, kernel_rmsprop.RMSprop(params, momentum=0.9)
        want, o = prepare()
        for _ in range(threads * steps):
            o.step()
        params, o = prepare()
        start = threading.Barrier(threads)
        def work():
            start.wait()
            for _ in range(steps):
                o.step()
                junk = [torch.full(p.shape, 1e30) for p in params]  # in what was freed
        all = [threading.Thread(target=work) for _ in range(threads)]
        for t in all: t.start()
        for t in all: t.join()
        print(all_ := [torch.equal(p, q) for p, q in zip(params, want)], o.state[params[0]]["step"].item())
        """,
        gradient,
    ) == ["[True,", "True]", "240.0"]


def test_step_in_the_handler_of_a_signal():
    """It comes in the middle of another step, which goes on after it."""
    assert with_torch(
        """
        import signal
        p, o = make(500)
        q = torch.nn.Parameter(torch.ones(30, 20))
        o.add_param_group({"params": [q]})
        p.grad, q.grad = torch.ones(500), torch.ones(20, 30).t()
        count = [0]
        def handler(*_):
            count[0] += 1
            o.step()
        signal.signal(signal.SIGALRM, handler)
        n = 0
        while count[0] < 200:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + n % 100 * 1e-6)
            o.step()
            n += 1
        time.sleep(0.01)
        print(o.state[p]["step"].item() == o.state[q]["step"].item() == n + count[0])
        """
    ) == ["True"]


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
            plan, = o._session.plans.values()
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
