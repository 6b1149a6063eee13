# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the test guest's command port (tools/guest/init is the other end)."""
import base64
import json
import os
import select
import shlex
import socket
import time


class GuestError(Exception):
    """A command failed in the guest, or the guest did something unasked for."""


class Guest:
    """Runs shell commands in the guest, one at a time, while the monitor stays free for other things."""

    def __init__(self, socket_path, console_path):
        self.console_path = console_path
        self._socket_path = str(socket_path)
        self._process = None
        self._socket = None
        self._buffer = b""
        self._next_id = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._socket_path)
        self._listener.listen(1)

    def accept(self, process):
        """Takes the connection that QEMU makes when it starts."""
        self._process = process
        while not select.select([self._listener], [], [], 0.05)[0]:
            process.require_alive()
        self._socket = self._listener.accept()[0]

    def wait_boot(self, timeout_s=240):
        """Waits until the guest has booted."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._answer(deadline, "the guest to boot")
            if answer[0] == "boot":
                return

    def try_run(self, command, timeout_s=240):
        """Runs a shell command; its exit status and its output, errors included."""
        self._next_id += 1
        want = f"c{self._next_id}"
        encoded = base64.b64encode(command.encode()).decode()
        self._socket.sendall(f"\n{want} {encoded}\n".encode())
        deadline = time.monotonic() + timeout_s
        while True:
            got, status, output = self._answer(deadline, f"the guest to run '{command}'")
            if got == "boot":
                raise GuestError(f"the guest rebooted while running '{command}': {self.console()}")
            if got == want:
                return status, output

    def run(self, command, timeout_s=240):
        """Runs a shell command that must succeed; its output."""
        status, output = self.try_run(command, timeout_s)
        if status:
            raise GuestError(
                f"in the guest, '{command}' ended with status {status}: {output.strip()}"
            )
        return output

    def run_json(self, command, timeout_s=240):
        """Runs a command that prints JSON."""
        return json.loads(self.run(command, timeout_s))

    def background(self, command):
        """Starts a shell command and leaves it running."""
        return Background(self, command)

    def write_file(self, path, text):
        encoded = base64.b64encode(text.encode()).decode()
        self.run(f"echo {encoded} | base64 -d >{shlex.quote(path)}")

    def console(self, bytes_max=2000):
        """The end of what the kernel said."""
        try:
            with open(self.console_path, "rb") as f:
                f.seek(0, os.SEEK_END)
                f.seek(max(0, f.tell() - bytes_max))
                return f.read().decode(errors="replace").strip() or "(nothing on the console)"
        except FileNotFoundError:
            return "(no console)"

    def close(self):
        for s in (self._socket, self._listener):
            if s:
                s.close()
        try:
            os.unlink(self._socket_path)
        except FileNotFoundError:
            pass

    def _answer(self, deadline, what):
        while True:
            fields = self._line(deadline, what).decode(errors="replace").split(" ")
            if len(fields) != 3:
                continue  # the rest of a line that a reset cut off
            try:
                return (
                    fields[0],
                    int(fields[1]),
                    base64.b64decode(fields[2], validate=True).decode(errors="replace"),
                )
            except ValueError:
                continue

    def _line(self, deadline, what):
        while b"\n" not in self._buffer:
            if time.monotonic() > deadline:
                raise GuestError(f"gave up waiting for {what}; console: {self.console()}")
            if not select.select([self._socket], [], [], 0.5)[0]:
                self._process.require_alive()
                continue
            data = self._socket.recv(1 << 16)
            if not data:
                self._process.wait(10)
                raise GuestError(
                    f"QEMU ended while waiting for {what}: {self._process.log()}; {self.console()}"
                )
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line


class Background:
    """A command that runs in the guest on its own."""

    _count = 0

    def __init__(self, guest, command):
        Background._count += 1
        self._guest = guest
        self._command = command
        self._base = f"/tmp/background-{Background._count}"
        # A process group of its own, whose shell outlives the SIGTERM to report the command's status.
        guest.write_file(f"{self._base}.sh", f"trap : TERM\n{command}\n")
        script = f"setsid sh {self._base}.sh >{self._base}.out 2>&1 & echo $! >{self._base}.pid; "
        script += f"wait $!; echo $? >{self._base}.status"
        guest.run(f"sh -c {shlex.quote(script)} >/dev/null 2>&1 &")

    def running(self):
        return self._guest.try_run(f"test -s {self._base}.status")[0] != 0

    def stop(self):
        """SIGTERM to what the command runs, not to its shell; wait() then gives what it printed."""
        self._guest.run(f"kill -TERM -$(cat {self._base}.pid)")

    def wait(self, timeout_s=240):
        """Its output once it has ended; raises when it failed."""
        deadline = time.monotonic() + timeout_s
        while self.running():
            if time.monotonic() > deadline:
                raise GuestError(f"'{self._command}' still runs after {timeout_s} s")
            time.sleep(0.1)
        status = int(self._guest.run(f"cat {self._base}.status"))
        output = self._guest.run(f"cat {self._base}.out")
        if status:
            raise GuestError(
                f"in the guest, '{self._command}' ended with status {status}: {output.strip()}"
            )
        return output

    def wait_json(self, timeout_s=240):
        return json.loads(self.wait(timeout_s))

    def use_guest(self, guest):
        """After a migration: the same command, now behind another port."""
        self._guest = guest
