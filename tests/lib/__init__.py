# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests that run real QEMU programs share. Standard library only.

    from lib import image, paths, workdir          # after sys.path holds tests/
    from lib.vm import Vm                          # a QEMU process with a Linux guest in it
    from lib.daemon import StorageDaemon           # qemu-storage-daemon
    from lib.qmp import QmpClient, QmpError        # the monitor protocol
    from lib.runner import main                    # "ok"/"not ok" lines, "N passed, N failed"

Programs come from build/qemu/bin, or from $PREDSNAP_QEMU_BIN. Temporary files go under $PREDSNAP_TMP
(default /var/tmp), each test's in a folder of its own.
"""
