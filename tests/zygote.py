"""Start scripts without waiting: a process that has imported torch forks for each of them.

What runs is the script with its command line, in a process of its own that can be killed; only the
seconds of importing are saved, of which twenty kills would need a hundred. What depends on imports
(PYTHONPATH that hides a package, matplotlib's settings) needs the fixture `new_process`.
"""

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
SECONDS = 500  # after which a script is killed


class Forked:
    """A script that was started: `kill`, `send_signal`, `poll`, `communicate` as of Popen."""

    def __init__(self, zygote: "Zygote", pid: int, output: Path) -> None:
        self.pid, self.returncode = pid, None
        self._zygote, self._output = zygote, output

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._zygote.ask({"poll": self.pid})
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        self.communicate()
        assert self.returncode is not None
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        if self.returncode is None:
            self.returncode = self._zygote.ask({"wait": self.pid})
        return tuple(self._output.with_suffix(end).read_text() for end in (".out", ".err"))


class Zygote:
    """The process that forks; `start` as Popen does, `call` as subprocess.run."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        command = [sys.executable, __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # W&B reads a few of its variables at its import.
        own = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MPL"))}
        own["WANDB_ERROR_REPORTING"] = "false"
        self._process = subprocess.Popen(command, text=True, env=own, **pipes)

    def ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin and self._process.stdout
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(self, folder: Path, *words: str, env: Mapping[str, str] | None = None) -> Forked:
        self._count += 1
        output = self._folder / f"forked{self._count}"
        start = {"start": words, "folder": str(folder), "output": str(output)}
        return Forked(self, self.ask(start | {"env": dict(env or os.environ)}), output)

    def call(
        self, folder: Path, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(folder, *words, env=env)
        out, error = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(words, process.returncode, out, error)

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def answer(question: dict[str, Any]) -> int | None:
    """The pid of what was started; the exit status of what was waited for, as Popen has it."""
    if "start" in question:
        return fork(question["start"], question["folder"], question["output"], question["env"])
    pid, options = question.get("wait"), 0
    if pid is None:
        pid, options = question["poll"], os.WNOHANG
    ended, status = os.waitpid(pid, options)
    return os.waitstatus_to_exitcode(status) if ended else None


def fork(words: list[str], folder: str, output: str, env: dict[str, str]) -> int:
    """Run a script in a child; its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for inherited in list(weakref.finalize._registry):
            inherited.atexit = False  # temporary folders are the parent's to remove
        os.setsid()
        signal.alarm(SECONDS)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whether the tests run under nohup or not
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        sys.path[1:1] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
        for stream, end in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(output + end, os.O_WRONLY | os.O_CREAT), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        script = str(SCRIPTS / words[0])
        sys.argv = [script, *words[1:]]
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # as at the end of a process: workers of joblib are told
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Import what takes long, then answer questions until there are no more."""
    sys.path.insert(0, str(SCRIPTS))
    import hydra  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torch
    import torch._dynamo  # the first optimizer of a process imports it
    import wandb  # noqa: F401
    from wandb.sdk.data_types._private import MEDIA_TMP

    import bnstudy.data
    import bnstudy.figures
    import bnstudy.models.vgg
    import bnstudy.train  # noqa: F401

    atexit.unregister(MEDIA_TMP.cleanup)  # or the first child that ends removes everybody's folder
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
    atexit._run_exitfuncs()
    os._exit(0)  # to take torch apart takes seconds


if __name__ == "__main__":
    main()
