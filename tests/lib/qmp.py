# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of QEMU's monitor protocol (docs/interop/qmp-spec in QEMU)."""
import json
import os
import select
import socket
import time


class QmpError(Exception):
    """The monitor answered with an error."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error['desc']}")
        self.error_class = error["class"]
        self.desc = error["desc"]


class QmpClosed(Exception):
    """The process at the other end went away."""


class QmpClient:
    """One connection. Made before the process starts, so that nothing needs to be polled for: the process
    connects to our listening socket."""

    def __init__(self, path):
        self.path = str(path)
        self.events = []  # not yet taken, oldest first
        self._next_id = 0
        self._buffer = b""
        self._socket = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(1)

    def accept(self, process, timeout_s=60):
        """Waits for the process to connect, and leaves capabilities negotiation behind."""
        deadline = time.monotonic() + timeout_s
        while not select.select([self._listener], [], [], 0.05)[0]:
            process.require_alive()
            if time.monotonic() > deadline:
                raise QmpClosed(f"{process.name} did not open its monitor within {timeout_s} s")
        self._socket = self._listener.accept()[0]
        try:
            greeting = self._receive(timeout_s)
            assert "QMP" in greeting, greeting
            self.execute("qmp_capabilities")
        except QmpClosed:
            process.wait(10)
            process.require_alive()
            raise

    def execute(self, command, timeout_s=120, pass_fd=None, **arguments):
        """Runs a command and gives what it returns. Argument names take '_' for '-'."""
        return self.command(
            command, {k.replace("_", "-"): v for k, v in arguments.items()}, timeout_s, pass_fd
        )

    def command(self, command, arguments=None, timeout_s=120, pass_fd=None):
        """The same, with the arguments as they are."""
        self._next_id += 1
        request = {"execute": command, "id": self._next_id}
        if arguments:
            request["arguments"] = arguments
        self._send(json.dumps(request).encode() + b"\n", pass_fd)
        while True:
            message = self._receive(timeout_s, command)
            if "event" in message:
                self.events.append(message)
            elif message.get("id") == self._next_id:
                if "error" in message:
                    raise QmpError(command, message["error"])
                return message["return"]

    def wait_event(self, *names, timeout_s=120, **data):
        """Takes the oldest event of one of these names whose data holds these values."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        while True:
            for event in self.events[seen:]:
                if event["event"] in names and data.items() <= event.get("data", {}).items():
                    self.events.remove(event)
                    return event
            seen = len(self.events)
            message = self._receive(max(0, deadline - time.monotonic()), " or ".join(names))
            if "event" in message:
                self.events.append(message)

    def poll_events(self):
        """Everything that has arrived, without waiting; the events stay until taken with wait_event."""
        while b"\n" in self._buffer or select.select([self._socket], [], [], 0)[0]:
            message = self._receive(10)
            if "event" in message:
                self.events.append(message)
        return self.events

    def wait_job(self, job_id, timeout_s=300):
        """Waits for a job to conclude, dismisses it, and raises if it failed."""
        completing = False
        while True:
            status = self._job(job_id)
            if status["status"] == "ready" and not completing:
                self.execute("job-complete", id=job_id)
                completing = True  # it stays "ready" until it has noticed
            if status["status"] == "concluded":
                break
            self.wait_event("JOB_STATUS_CHANGE", id=job_id, timeout_s=timeout_s)
        self.execute("job-dismiss", id=job_id)
        if status.get("error"):
            raise QmpError(f"job {job_id}", {"class": "GenericError", "desc": status["error"]})

    def _job(self, job_id):
        found = [job for job in self.execute("query-jobs") if job["id"] == job_id]
        if not found:
            raise QmpError("query-jobs", {"class": "GenericError", "desc": f"no job '{job_id}'"})
        return found[0]

    def run_job(self, command, job_id="job0", **arguments):
        """Starts a job that takes 'job-id' and waits for its end. Block jobs must not dismiss themselves."""
        if command.startswith("block"):
            arguments |= {"auto_dismiss": False}
        self.execute(command, job_id=job_id, **arguments)
        self.wait_job(job_id)

    def close(self):
        for s in (self._socket, self._listener):
            if s:
                s.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def _send(self, data, pass_fd):
        try:
            if pass_fd is None:
                self._socket.sendall(data)
            else:
                socket.send_fds(self._socket, [data], [pass_fd])
        except OSError as e:
            raise QmpClosed(f"monitor closed: {e}") from None

    def _receive(self, timeout_s, what="an answer"):
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise TimeoutError(f"no {what} from the monitor within {timeout_s:.0f} s")
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                raise QmpClosed(f"the monitor closed while waiting for {what}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)
