# SPDX-License-Identifier: GPL-2.0-or-later
"""The command port of the test guest itself."""
from case import GuestTest


class Port(GuestTest):
    def test_no_command_is_lost_while_orphans_end(self):
        """The SIGCHLD of an orphan once made the guest forget the half of a command it had read."""
        orphans = "for i in $(seq 25); do (sleep 0.$(printf %02d $i) &) ; done"
        with self.new_vm().started() as vm:
            for _ in range(3):
                vm.guest.run(orphans)
                for i in range(25):
                    padding = "x" * 200
                    self.assertEqual(vm.guest.run(f"echo {i} # {padding}", timeout_s=60), f"{i}\n")

    def test_status_and_output_come_back(self):
        with self.new_vm().started() as vm:
            self.assertEqual(vm.guest.try_run("echo out; echo err >&2; exit 7"), (7, "out\nerr\n"))
            self.assertEqual(vm.guest.try_run("true"), (0, ""))
