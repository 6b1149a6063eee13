# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of the NBD protocol (doc/proto.md of the NBD project), for tests that must know of each request when
it was sent and when it was answered. One connection, simple replies, requests in flight as many as asked."""
import socket
import struct

OPT_EXPORT_NAME = 1
FLAG_FIXED_NEWSTYLE = 1
FLAG_NO_ZEROES = 2
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698
CMD_READ, CMD_WRITE, CMD_DISCONNECT, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES = 0, 1, 2, 3, 4, 6
CMD_FLAG_FUA = 1
CMD_FLAG_NO_HOLE = 2
MAX_READ = 1 << 20


class NbdClosed(Exception):
    """The server went away: what was in flight may or may not have been done."""


class NbdClient:
    """`with NbdClient(socket_path, "export") as disk: disk.write(0, data); disk.flush()`.

    A request that the server fails raises OSError with the server's errno.
    """

    def __init__(self, socket_path, export):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(120)
        self._handle = 0
        self._in_flight = {}
        try:
            self._socket.connect(str(socket_path))
            self._negotiate(export.encode())
        except BaseException:
            self._socket.close()
            raise

    def _negotiate(self, export):
        assert self._receive(16) == b"NBDMAGICIHAVEOPT"
        self._receive(2)
        option = b"IHAVEOPT" + struct.pack(">II", OPT_EXPORT_NAME, len(export)) + export
        self._send(struct.pack(">I", FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES) + option)
        self.size, self.flags = struct.unpack(">QH", self._receive(10))

    def start(self, command, offset, length, data=b"", flags=0):
        """Sends a request; its handle, for finish()."""
        self._handle += 1
        header = struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, self._handle, offset, length)
        self._in_flight[self._handle] = length if command == CMD_READ else 0
        self._send(header + data)
        return self._handle

    def finish(self):
        """Waits for the next answer: the handle, the errno (0: done) and what was read."""
        magic, error, handle = struct.unpack(">IIQ", self._receive(16))
        assert magic == REPLY_MAGIC, f"unexpected reply magic {magic:#x}"
        length = self._in_flight.pop(handle)
        return handle, error, b"" if error else self._receive(length)

    def read(self, offset, length):
        parts = []
        for at in range(offset, offset + length, MAX_READ):
            parts.append(self._call(CMD_READ, at, min(MAX_READ, offset + length - at)))
        return b"".join(parts)

    def write(self, offset, data, fua=False):
        self._call(CMD_WRITE, offset, len(data), data, CMD_FLAG_FUA if fua else 0)

    def write_zeroes(self, offset, length, may_unmap=True):
        self._call(CMD_WRITE_ZEROES, offset, length, flags=0 if may_unmap else CMD_FLAG_NO_HOLE)

    def trim(self, offset, length):
        self._call(CMD_TRIM, offset, length)

    def flush(self):
        self._call(CMD_FLUSH, 0, 0)

    def close(self):
        try:
            self._send(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, CMD_DISCONNECT, 0, 0, 0))
        except NbdClosed:
            pass
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _call(self, command, offset, length, data=b"", flags=0):
        assert not self._in_flight, "a call while requests are in flight"
        self.start(command, offset, length, data, flags)
        _, error, content = self.finish()
        if error:
            raise OSError(error, f"NBD command {command} at {offset}+{length}")
        return content

    def _send(self, data):
        try:
            self._socket.sendall(data)
        except OSError as e:
            raise NbdClosed(str(e)) from None

    def _receive(self, length):
        parts = []
        while length:
            try:
                part = self._socket.recv(min(length, 1 << 20))
            except ConnectionError as e:
                raise NbdClosed(str(e)) from None
            if not part:
                raise NbdClosed("the server closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
