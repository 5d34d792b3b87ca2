"""Runs functions and scripts in processes of their own."""

import multiprocessing
import multiprocessing.connection
import os
import sys
import tempfile
import textwrap
import time
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["preload"])
# Some versions of multiprocessing do not look in sys.path for it, and go on without.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])


class Child:
    """A process that runs function(*arguments), in an environment with what is added here."""

    def __init__(self, function, *arguments, **environment):
        fd, name = tempfile.mkstemp()
        os.close(fd)
        self._output = Path(name)
        self.process = _context.Process(target=_run, args=(name, environment, function, arguments))
        self.process.start()

    def result(self, exitcode=0, timeout=120):
        """Waits for its end, and returns what it has written. exitcode None: any."""
        self.process.join(timeout)
        late = self.process.exitcode is None
        if late:
            self.process.kill()
            self.process.join()
        out = self._output.read_text()
        self._output.unlink()
        assert not late, f"after {timeout} s still running: {out}"
        assert exitcode in (None, self.process.exitcode), f"exit code {self.process.exitcode}: {out}"
        return out


def results(children, timeout=120):
    """Waits for all. If one fails, it kills the others, which may wait for it."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and any(c.process.exitcode is None for c in children):
        if any(c.process.exitcode for c in children):
            end = min(end, time.monotonic() + 5)
        multiprocessing.connection.wait([c.process.sentinel for c in children if c.process.exitcode is None], 0.2)
    failed = [c for c in children if c.process.exitcode]
    for c in children:
        if c.process.exitcode is None:
            c.process.kill()
    return [c.result() for c in failed + [c for c in children if c not in failed]]


def python(script, *arguments, **environment):
    """Runs a script, and returns the words that it has written."""
    return Child(_exec, textwrap.dedent(script), [str(a) for a in arguments], **environment).result().split()


def _exec(script, arguments):
    sys.argv[1:] = arguments
    exec(compile(script, "script", "exec"), {"__name__": "script"})


def _run(output, environment, function, arguments):
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    assert "preload" in sys.modules
    os.environ.update(environment)
    function(*arguments)
