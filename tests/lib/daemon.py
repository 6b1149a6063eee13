# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-storage-daemon in a test."""
from . import paths
from .process import Process
from .qmp import QmpClient, QmpClosed


class StorageDaemon:
    """Runs until closed: `with StorageDaemon(work) as daemon: daemon.qmp.execute("blockdev-add", ...)`.

    extra: further command-line arguments, such as "--blockdev", "...".
    """

    def __init__(self, work, *extra, name="daemon"):
        socket_path = work / f"{name}.qmp"
        self.qmp = QmpClient(socket_path)
        args = [
            paths.program("qemu-storage-daemon"),
            "--chardev",
            f"socket,id=qmp,path={socket_path}",
            "--monitor",
            "chardev=qmp",
            *extra,
        ]
        self.process = Process("qemu-storage-daemon", args, work / f"{name}.log")
        try:
            self.qmp.accept(self.process)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self):
        return self.process.pid

    def quit(self):
        """Ends it in order; raises if it does not end well."""
        try:
            self.qmp.execute("quit")
        except QmpClosed:
            pass
        status = self.process.wait()
        self.kill()
        assert status == 0, f"{self.process.name} ended with status {status}: {self.process.log()}"

    def kill(self):
        """SIGKILL, as a power cut. Also releases what is held here."""
        self.process.kill()
        self.qmp.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and self.process.exit_status is None:
            self.quit()
        else:
            self.kill()
