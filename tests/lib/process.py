# SPDX-License-Identifier: GPL-2.0-or-later
"""A child process that cannot outlive its test."""
import ctypes
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessError(Exception):
    """A process ended, or did something, that the test did not ask for."""


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """Starts a program with its output in a log file; always ended by its own pid."""

    def __init__(self, name, args, log_path, pass_fds=()):
        self.name = name
        self.args = [str(a) for a in args]
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self._child = subprocess.Popen(
                self.args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self):
        return self._child.pid

    @property
    def exit_status(self):
        """None while it runs."""
        return self._child.poll()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read().strip()

    def require_alive(self):
        if self.exit_status is not None:
            raise ProcessError(
                f"{self.name} ended with status {self.exit_status}: {self.log() or 'no message'}"
            )

    def wait(self, timeout_s=60):
        """Waits for it to end by itself; its status."""
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{self.name} (pid {self.pid}) did not end within {timeout_s} s"
            ) from None

    def kill(self):
        """Ends it as a power cut would: SIGKILL, no chance to write anything."""
        if self.exit_status is None:
            self._child.kill()
        self._child.wait()


def wait_until(condition, what, timeout_s=60, process=None):
    """Polls until condition() is true; its value. The limit is only there so that nothing hangs for ever."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if process:
            process.require_alive()
        if time.monotonic() > deadline:
            raise ProcessError(f"gave up after {timeout_s} s waiting for {what}")
        time.sleep(0.02)


def run(args, **kwargs):
    """Runs a program to its end; its output, or an error that holds everything it said."""
    done = subprocess.run(
        [str(a) for a in args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **kwargs,
    )
    if done.returncode:
        command = " ".join(str(a) for a in args)
        raise ProcessError(
            f"'{command}' ended with status {done.returncode}: {(done.stderr + done.stdout).strip()}"
        )
    return done.stdout


def cpu_seconds(pid):
    """User and system time a process has used so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
