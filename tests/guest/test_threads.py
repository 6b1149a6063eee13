# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk served by threads of its own, several at once."""
from case import GuestTest

STAMP = "/dev/vda --seed 1 --span 67108864 --threads 4 --block 0 --direct"
WRITE = f"stamp write {STAMP} --sync-every 20 --read-back 20"


class Threads(GuestTest):
    def load_with_snapshots(self, vm):
        writer = vm.guest.background(f"{WRITE} --seconds 6")
        for i in range(4):
            vm.guest.run("sleep 1")
            self.snapshot(vm, f"s{i}")
        done = writer.wait_json()
        self.assertGreater(min(done["prefix"]), 0)
        vm.guest.run(
            f"stamp verify {STAMP} --at-least {min(done['prefix'])} --at-most {max(done['prefix'])}"
        )

    def vm_with_two_queues(self):
        """Each queue of the disk is served by a thread of its own."""
        vm = self.new_vm(cpus=2)
        for name in ("io0", "io1"):
            vm.add_object(qom_type="iothread", id=name)
        self.path = self.create()
        mapping = [{"iothread": "io0"}, {"iothread": "io1"}]
        return vm.add_disk(self.node(self.path), num_queues=2, iothread_vq_mapping=mapping)

    def test_iothread(self):
        vm = self.new_vm(cpus=2).add_object(qom_type="iothread", id="io0")
        self.path = self.create()
        vm.add_disk(self.node(self.path), iothread="io0")
        with vm.started():
            self.load_with_snapshots(vm)
        self.check_image()

    def test_iothread_vq_mapping(self):
        with self.vm_with_two_queues().started() as vm:
            self.load_with_snapshots(vm)
        self.check_image()

    def test_each_thread_finds_its_writes_in_order_after_a_kill(self):
        self.needs_predsnap()  # others lose unflushed writes in any order
        vm = self.vm_with_two_queues().start()
        vm.guest.run(f"{WRITE} --count 200")
        vm.guest.background(f"{WRITE} --resume")
        vm.guest.run("sleep 1")
        vm.kill()
        with vm.started():
            vm.guest.run(f"stamp verify {STAMP} --allow-torn --at-least 200")
        self.check_image()
