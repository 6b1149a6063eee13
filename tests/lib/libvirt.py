# SPDX-License-Identifier: GPL-2.0-or-later
"""A host of its own for a test: real libvirtd and virtlogd that leave the machine's alone.

    host = Host(work / "host")                     # namespaces: mounts, processes, network, name
    host.start()
    domain = host.define(xml)                      # or Domain(host, name)
    domain.start(); domain.guest.run("...")
    host.virsh("list"); host.run(["predsnap", ...])   # inside
    host.uri                                       # for who connects from outside
    host.crash()                                   # as a power cut: every process of it is gone; start() again
    host.stop()

Inside, /etc (a copy), /var/lib, /var/log, /var/cache, /run and /dev are this host's own; /opt/predsnap is the tested build (bin/ with QEMU's programs and ours), /opt/guest the test guest's kernel. So the paths
of the samples hold as they are. QEMU runs as the user of Debian's package, and libvirt's ownership rules apply. Needs root.
"""
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from . import paths
from .guest import Guest
from .process import Process, ProcessError, run, wait_until
from .vm import APPEND

NEEDED = ("libvirtd", "virtlogd", "virsh", "tini", "unshare", "nsenter")
FOLDERS = {  # of the host's folder, and where it is seen inside
    "etc": "/etc",  # begins as a copy of the machine's
    "lib": "/var/lib",
    "log": "/var/log",
    "cache": "/var/cache",
    "run": "/run",
    "opt": "/opt",
}

# security_driver: an AppArmor profile would be loaded into the kernel of the whole machine. cgroup_controllers: cgroups are not
# private, and hosts of several tests have domains of the same name. Everything else as Debian has it.
QEMU_CONF = """security_driver = "none"
cgroup_controllers = []
"""
LIBVIRTD_CONF = """auth_unix_rw = "none"
unix_sock_rw_perms = "0770"
host_uuid = "{uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
VIRTLOGD_CONF = 'log_outputs = "3:file:/var/log/libvirt/virtlogd.log"\n'


def require():
    """Raises when this machine cannot run such hosts."""
    if os.geteuid() != 0:
        raise paths.MissingError("tests with libvirt need root (namespaces): run them with sudo")
    missing = [name for name in NEEDED if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        raise paths.MissingError(f"{', '.join(missing)}: not installed; run tools/setup")


class Host:
    """One machine with libvirt. Two of them can migrate guests to each other; `shared` folders are then seen by both."""

    def __init__(self, folder, name="host", shared=None):
        require()
        self.folder = Path(folder)
        self.name = name
        self.uuid = str(uuid.uuid4())
        self._shared = shared or {}  # outer folder by inner one
        self._space = None
        self._init_pid = None
        self._starts = 0
        for part in FOLDERS:
            (self.folder / part).mkdir(parents=True)
        run(["cp", "-a", "/etc/.", self.folder / "etc"])
        for part in ("etc/predsnap", "lib/libvirt", "lib/predsnap", "log/libvirt", "log/predsnap", "cache/libvirt/qemu"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "etc/libvirt")
        for folder in (self.folder / "etc/libvirt", self.hooks, self.images):
            folder.mkdir()
        # QEMU's user must get through to what is its own.
        for folder in (self.folder.parent, self.folder, self.images):
            folder.chmod(0o711)
        # libvirt asks each emulator what it can do, for some seconds; it keeps the answer with the program's time and version.
        capabilities = Path(os.environ.get("PREDSNAP_CACHE") or Path.home() / ".cache/predsnap") / "libvirt-capabilities"
        capabilities.mkdir(parents=True, exist_ok=True)
        (self.folder / "cache/libvirt/qemu/capabilities").symlink_to(capabilities)
        self._configure()

    images = property(lambda self: self.folder / "lib/libvirt/images")
    hooks = property(lambda self: self.folder / "etc/libvirt/hooks")
    run_folder = property(lambda self: self.folder / "run")
    uri = property(lambda self: f"qemu+unix:///system?socket={self.run_folder}/libvirt/libvirt-sock")

    def _configure(self):
        etc = self.folder / "etc/libvirt"
        (etc / "qemu.conf").write_text(QEMU_CONF, encoding="ascii")
        (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(uuid=self.uuid), encoding="ascii")
        (etc / "virtlogd.conf").write_text(VIRTLOGD_CONF, encoding="ascii")

    def start(self):
        """Boots it: namespaces, virtlogd, libvirtd. What lay on its disks is still there, /run is empty."""
        shutil.rmtree(self.run_folder)
        self.run_folder.mkdir()
        (self.run_folder / "lock").mkdir()
        self._starts += 1
        self._space = Process(
            f"host '{self.name}'",
            ["unshare", "--mount", "--pid", "--uts", "--net", "--fork", "--kill-child", "--mount-proc",
             "bash", "-euc", self._boot_script()],
            self.folder / "boot.log",
        )
        self._init_pid = wait_until(self._find_init, "the host to boot", process=self._space)
        wait_until((self.run_folder / "booted").exists, "the host's mounts", process=self._space)
        self.start_daemon("virtlogd")
        self.start_libvirtd()

    def _boot_script(self):
        lines = ["export PATH=$PATH:/usr/sbin:/sbin", "mount --make-rprivate /", *self._devices_script()]
        mounts = {str(self.folder / part): inner for part, inner in FOLDERS.items()}
        mounts.update({str(outer): inner for inner, outer in self._shared.items()})
        for part in ("predsnap/bin", "guest"):
            lines.append(f"mkdir -p {self.folder}/opt/{part}")
        lines += [f"mount --bind {paths.qemu_bin_dir()} {self.folder}/opt/predsnap/bin",
                  f"mount --bind {paths.guest_dir()} {self.folder}/opt/guest"]
        lines += [f"mount --rbind {outer} {inner}" for outer, inner in mounts.items()]
        lines += [f"hostname {self.name}", "touch /run/booted", "exec tini -s -- sleep infinity"]
        return "\n".join(lines)

    def _devices_script(self):
        """/dev without kvm: guests run emulated here, and libvirt asks each emulator anew, for ten seconds, where KVM is but fails."""
        dev = f"{self.folder}/dev"
        return [f"mkdir -p {dev}", f"mount -t tmpfs -o mode=755 tmpfs {dev}",
                f"cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty {dev}/",
                f"! test -e /dev/fuse || cp -a /dev/fuse {dev}/",
                f"mkdir {dev}/shm {dev}/pts", f"mount -t tmpfs tmpfs {dev}/shm", f"mount -t devpts devpts {dev}/pts",
                f"ln -s pts/ptmx {dev}/ptmx", f"ln -s /proc/self/fd {dev}/fd", "umount -R -l /dev || true", f"mount --move {dev} /dev"]

    def _find_init(self):
        children = Path(f"/proc/{self._space.pid}/task/{self._space.pid}/children").read_text(encoding="ascii").split()
        return int(children[0]) if children else None

    # Programs inside.
    def inside(self, args):
        """The command line that runs a program inside."""
        return ["nsenter", "-t", str(self._init_pid), "-m", "-u", "-n", "-p", "--", *map(str, args)]

    def run(self, args, **kwargs):
        """Runs a program inside to its end; its output. Raises when it fails."""
        return run(self.inside(args), **kwargs)

    def try_run(self, args, timeout_s=120, **kwargs):
        """Runs a program inside; its status, output and errors."""
        done = subprocess.run(self.inside(args), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=timeout_s, **kwargs)
        return done.returncode, done.stdout, done.stderr

    def virsh(self, *args, **kwargs):
        return run(["virsh", "-q", "-c", self.uri, *args], **kwargs)

    def try_virsh(self, *args):
        """virsh's status, and what it said: for what must fail."""
        done = subprocess.run(["virsh", "-q", "-c", self.uri, *map(str, args)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, (done.stdout + done.stderr).strip()

    def start_daemon(self, program):
        """virtlogd or libvirtd: under tini, the namespace's first process, that takes over its orphans."""
        self.run(["setsid", f"/usr/sbin/{program}", "--daemon"])

    def start_libvirtd(self):
        self.start_daemon("libvirtd")
        wait_until(lambda: self.try_virsh("uri")[0] == 0, f"libvirtd of '{self.name}'", timeout_s=30, process=self._space)

    def daemon_pid(self, program="libvirtd"):
        """As seen inside."""
        return int((self.run_folder / f"{program}.pid").read_text(encoding="ascii"))

    def kill(self, inner_pid, with_signal="KILL"):
        self.run(["kill", f"-{with_signal}", inner_pid])
        if with_signal == "KILL":
            wait_until(lambda: self.try_run(["kill", "-0", inner_pid])[0] != 0, f"the end of process {inner_pid}")

    def kill_libvirtd(self):
        """kill -9; the domains run on."""
        self.kill(self.daemon_pid())

    def restart_libvirtd(self):
        """In order, as `systemctl restart` does. Takes in new hooks."""
        pid = self.daemon_pid()
        self.kill(pid, "TERM")
        wait_until(lambda: self.try_run(["kill", "-0", pid])[0] != 0, "the end of libvirtd")
        self.start_libvirtd()

    def pids_of(self, pattern):
        """Of processes inside whose command line matches, as seen inside."""
        status, output, _ = self.try_run(["pgrep", "-f", "--", pattern])
        return [int(pid) for pid in output.split()] if status == 0 else []

    def outer_pid(self, inner_pid):
        """The same process as seen from outside, for /proc."""
        space = os.stat(f"/proc/{self._init_pid}/ns/pid").st_ino
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if os.stat(entry / "ns/pid").st_ino != space:
                    continue
                status = (entry / "status").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            line = next(l for l in status.splitlines() if l.startswith("NSpid:"))
            if int(line.split()[-1]) == inner_pid:
                return int(entry.name)
        raise ProcessError(f"'{self.name}' has no process {inner_pid}")

    def log(self):
        path = self.folder / "log/libvirt/libvirtd.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # Domains.
    def define(self, xml):
        """Defines a domain; returns it."""
        self._starts += 1
        path = self.folder / f"define-{self._starts}.xml"
        path.write_text(xml, encoding="utf-8")
        self.virsh("define", "--validate", path)
        return Domain(self, ElementTree.fromstring(xml).findtext("name"))

    # Ends.
    def crash(self):
        """Every process of it is gone at once."""
        if self._space:
            if self._init_pid and self._space.exit_status is None:
                os.kill(self._init_pid, signal.SIGKILL)
                self._space.wait()
            self._space.kill()
            self._space = self._init_pid = None

    stop = crash


class Domain:
    """A domain whose guest speaks through its second serial port, as serial_xml() has it."""

    def __init__(self, host, name):
        self.host = host
        self.name = name
        self.guest = None
        self._boots = 0

    @property
    def pid(self):
        """QEMU's, as seen inside."""
        return int((self.host.run_folder / f"libvirt/qemu/{self.name}.pid").read_text(encoding="ascii"))

    def start(self, wait_boot=True):
        """virsh start, and unless told otherwise the guest's boot."""
        self.listen()
        try:
            self.host.virsh("start", self.name)
            self.guest.accept(self)
            if wait_boot:
                self.guest.wait_boot()
        except BaseException:
            self.close()
            raise
        return self

    def listen(self):
        """For the guest that is about to start, or to come from another host."""
        self.close()
        folder = self.host.folder / "lib/libvirt/guests"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        self.guest = Guest(folder / f"{self.name}.port", folder / f"{self.name}.console")
        os.chmod(folder / f"{self.name}.port", 0o777)

    def destroy(self):
        """Pulls the plug; QEMU ends in order."""
        self.host.virsh("destroy", self.name)
        self.close()

    def state(self):
        return self.host.virsh("domstate", self.name).strip()

    def xml(self, *flags):
        return self.host.virsh("dumpxml", self.name, *flags)

    def qmp(self, command, **arguments):
        """A QMP command through libvirt; taints the domain."""
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        text = json.dumps({"execute": command, "arguments": arguments})
        answer = json.loads(self.host.virsh("qemu-monitor-command", self.name, text))
        if "error" in answer:
            raise ProcessError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    # What Guest needs of a process.
    def require_alive(self):
        """Of QEMU, whether or not libvirtd runs."""
        try:
            alive = self.host.try_run(["kill", "-0", self.pid])[0] == 0
        except FileNotFoundError:
            alive = False
        if not alive:
            raise ProcessError(f"the QEMU of domain '{self.name}' has ended: {self.log()}")

    def wait(self, timeout_s=60):
        wait_until(lambda: self.state() == "shut off", f"the end of domain '{self.name}'", timeout_s)

    def log(self, bytes_max=2000):
        path = self.host.folder / f"log/libvirt/qemu/{self.name}.log"
        return path.read_text(encoding="utf-8", errors="replace")[-bytes_max:] if path.exists() else "(no log)"

    def close(self):
        if self.guest:
            self.guest.close()
            self.guest = None


def serial_xml(name):
    """The console to a file, the command port to the test."""
    folder = "/var/lib/libvirt/guests"
    return (f"<serial type='file'><source path='{folder}/{name}.console' append='on'/><target port='0'/></serial>"
            f"<serial type='unix'><source mode='connect' path='{folder}/{name}.port'/><target port='1'/></serial>")


def boot_xml():
    """The test guest's kernel, for <os>."""
    return (f"<kernel>/opt/guest/kernel</kernel><initrd>/opt/guest/initrd</initrd><cmdline>{APPEND}</cmdline>")


def domain_xml(name, disks="", emulator="/opt/predsnap/bin/qemu-system-x86_64", memory_mb=192, extra="", devices=""):
    """A small domain with the test guest. disks, devices: elements below <devices>; extra: below <domain>."""
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>{memory_mb}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>{boot_xml()}</os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_crash>preserve</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    {disks}
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    {serial_xml(name)}
    {devices}
  </devices>
  {extra}
</domain>
"""


def boot_time_s(domain):
    """How long a start takes, for who measures."""
    start = time.monotonic()
    domain.start()
    return time.monotonic() - start
