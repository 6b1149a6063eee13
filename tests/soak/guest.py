# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's writes, and its memory of what the disk holds."""
BLOCK = 4096
MIB = 1 << 20
ZEROS = bytes(BLOCK)


class Guest:
    """The disk's parts, by its size: hot database pages, a log, files that come and go, the rest is cold.

    `blocks` is what each block holds; it is replaced, never changed in place, so a copy of the table is a memory of a state."""

    def __init__(self, size, random):
        self.random = random
        self.count = size // BLOCK
        self.blocks = {}
        self.log_at = 0
        self.written = 0  # bytes
        self.touched = set()  # blocks written since somebody emptied it
        part = self.count // 8
        self.pages, self.log, self.files, self.cold = range(part), range(part, 2 * part), range(2 * part, 4 * part), range(4 * part, self.count)

    def request(self, disk):
        """One write or discard."""
        dice = self.random.random()
        if dice < 0.70:
            self._page(disk)
        elif dice < 0.90:
            self._append(disk)
        elif dice < 0.97:
            self._file(disk)
        elif dice < 0.98:
            self._discard(disk)
        else:
            self._write(disk, self.random.choice(self.cold), [self.random.randbytes(BLOCK)])

    def _write(self, disk, first, blocks):
        disk.write(first * BLOCK, b"".join(blocks))
        self.written += len(blocks) * BLOCK
        self.touched.update(range(first, first + len(blocks)))
        self.blocks.update(zip(range(first, first + len(blocks)), blocks))

    def _page(self, disk):
        """Of a page that is used often, about a twentieth changes."""
        at = self.pages[int(len(self.pages) * self.random.random() ** 3)]
        page = bytearray(self.blocks.get(at, ZEROS))
        for _ in range(4):
            where = self.random.randrange(BLOCK - 51)
            page[where : where + 51] = self.random.randbytes(51)
        self._write(disk, at, [bytes(page)])

    def _append(self, disk):
        """Text, to the end of a log that begins anew when its space is full."""
        line = f"{self.log_at} {self.random.getrandbits(64):x} something happened, and nobody looked\n".encode()
        block = (line * (BLOCK // len(line) + 1))[:BLOCK]
        self.log_at += 1
        self._write(disk, self.log[self.log_at % len(self.log)], [block])

    def _file(self, disk):
        length = self.random.randint(1, 16)
        first = self.files[self.random.randrange(len(self.files) - length)]
        self._write(disk, first, [self.random.randbytes(BLOCK) for _ in range(length)])

    def _discard(self, disk):
        length = self.random.randint(1, 64)
        first = self.files[self.random.randrange(len(self.files) - length)]
        disk.trim(first * BLOCK, length * BLOCK)
        for at in range(first, first + length):
            self.blocks.pop(at, None)

    def wrong(self, disk, blocks, count):
        """Some blocks of the disk that do not hold what they should, of so many looked at."""
        looked = self.random.sample(range(self.count), count)
        return [at for at in looked if disk.read(at * BLOCK, BLOCK) != blocks.get(at, ZEROS)]
