# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel says of an image: mounted on loop devices, read, written, scrubbed; and its log.

Nothing stays behind on any way out: Trip.close() undoes what it made.
"""

import contextlib
import errno
import fcntl
import os
import random
import re
import stat
import subprocess
import tempfile

from checks import Failed, attach, command, detach, output_of
from trees import Tree, compare

WARNING = 4
FICLONE = 0x40049409


def refusal():
    """Why images cannot be mounted here, or None when they can: tried, not guessed."""
    if os.geteuid() != 0:
        return "not root"
    try:
        with tempfile.TemporaryDirectory(prefix="bg-judge-") as folder:
            path = os.path.join(folder, "probe")
            with open(path, "wb") as file:
                file.truncate(128 << 20)
            command("mkfs.btrfs", "-q", "-f", path)
            trip = Trip([path], None)
            try:
                trip.mount("ro")
                trip.unmount()
            finally:
                trip.close()
    except (Failed, OSError) as error:
        return f"no loop mounts of btrfs here ({error})"
    return None


@contextlib.contextmanager
def alone():
    """One judge at a time asks the kernel: copies of one file system must not be mounted together."""
    path = os.path.join(tempfile.gettempdir(), "blockgroups-judge.lock")
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Log:
    """The kernel's log from the moment this was made."""

    def __init__(self):
        self.file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.file, 0, os.SEEK_END)

    def records(self):
        """(level, text) of what came since."""
        while True:
            try:
                record = os.read(self.file, 8192)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                yield 0, "the log was overwritten before it was read"
                continue
            head, _, text = record.partition(b";")
            yield int(head.split(b",")[0]) & 7, text.split(b"\n")[0].decode(errors="replace")

    def judge(self, names):
        """Raises where the log has a line about the devices with these names (loop0) at level warning or
        above. Other file systems may be mounted meanwhile; what names no device is only told."""
        try:
            records = list(self.records())
        finally:
            os.close(self.file)
        ours = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
        lost = [text for level, text in records if level == 0 and "overwritten" in text]
        about = [(level, text) for level, text in records if ours.search(text)]
        # Said at every mount of a file system without a free-space tree, whoever wrote it.
        about = [(level, text) for level, text in about if "v1 is being deprecated" not in text]
        bad = [text for level, text in about if level <= WARNING and "btrfs" in text.lower()]
        nameless = [text for level, text in records
                    if level <= WARNING and "fs/btrfs" in text and not ours.search(text)]
        if bad or lost:
            raise Failed("\n".join([f"{len(bad + lost)} lines at warning or above", *bad, *lost]))
        words = f"{len(about)} lines about it, none at warning or above"
        return words + (f"; of unknown origin: {nameless[0]}" if nameless else "")


class Trip:
    """An image's time with the kernel."""

    def __init__(self, paths, log):
        self.paths, self.log = paths, log
        self.point = tempfile.mkdtemp(prefix="bg-judge-mount-")
        self.loops, self.names, self.mounted = [], set(), False
        self.written = None

    def mount(self, mode):
        for path in self.paths:
            self.loops.append(attach(path, *(["--read-only"] if mode == "ro" else [])))
            self.names.add(os.path.basename(self.loops[-1]))
        words = ",".join([mode, *(f"device={loop}" for loop in self.loops)])
        command("mount", "-t", "btrfs", "-o", words, self.loops[0], self.point)
        self.mounted = True

    def unmount(self):
        if self.mounted:
            command("umount", self.point)
            self.mounted = False
        while self.loops:
            detach(self.loops.pop())

    def close(self):
        try:
            self.unmount()
        except Failed:
            output_of("umount", "--lazy", self.point)
            for loop in self.loops:
                output_of("losetup", "--detach", loop)
        with contextlib.suppress(OSError):
            os.rmdir(self.point)

    def read(self, at, expected, partial):
        """Reads every byte; compares what lies under `at`, where there is something expected."""
        self.mount("ro")
        whole = Tree.of_folder(self.point)
        if expected is not None:
            compare(expected, Tree.of_folder(os.path.join(self.point, at.strip("/"))), partial)
        self.unmount()
        return whole.describe()

    def write(self, seed, balance):
        """Changes, removes and adds files, so that trees, references and checksums that were there before
        have to be changed as well."""
        self.mount("rw")
        work = Work(self.point, random.Random(seed))
        work.run()
        command("btrfs", "filesystem", "sync", self.point)
        words = work.describe()
        if balance:
            status, output = output_of("btrfs", "balance", "start", "--full-balance", self.point)
            if status != 0 and "No space left" not in output:
                raise Failed(f"balance: status {status}\n{output.strip()}")
            words += ", balanced" if status == 0 else ", balanced as far as there was room"
        self.written = Tree.of_folder(self.point)
        return words

    def scrub(self):
        status, output = output_of("btrfs", "scrub", "start", "-B", "-R", self.point)
        fields = dict(re.findall(r"(\w+): (\d+)", output))
        bad = [f"{name}: {value}" for name, value in fields.items()
               if name.endswith(("_errors", "no_csum_unused")) and value != "0"]
        if status != 0 or bad or "csum_errors" not in fields:
            raise Failed("\n".join([f"status {status}", *(bad or [output.strip()])]))
        return (f"{fields['data_bytes_scrubbed']} bytes of data, "
                f"{fields['tree_bytes_scrubbed']} of trees")

    def read_again(self):
        self.mount("ro")
        found = Tree.of_folder(self.point)
        compare(self.written, found)
        self.unmount()
        return found.describe()


class Work:
    """What is done to a mounted file system."""

    CHANGED_MAX = 60

    def __init__(self, root, rng):
        self.root, self.rng = root, rng
        self.changed = self.removed = self.added = 0
        self.is_full = False

    def describe(self):
        words = f"{self.changed} files changed, {self.removed} removed, {self.added} added"
        return words + (", until it was full" if self.is_full else "")

    def run(self):
        paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(self.root)
                       for name in names)
        paths = [path for path in paths if stat.S_ISREG(os.lstat(path).st_mode)]
        for path in self.rng.sample(paths, min(self.CHANGED_MAX, len(paths))):
            self._try(self._change, path)
        self._try(self._add)

    def _try(self, body, *arguments):
        try:
            body(*arguments)
        except OSError as error:
            # Full is a state, not a failure; a read-only snapshot is as it should be.
            if error.errno == errno.ENOSPC:
                self.is_full = True
            elif error.errno != errno.EROFS:
                raise

    def _change(self, path):
        size = os.path.getsize(path)
        kind = self.rng.randrange(7)
        if kind == 0:
            os.unlink(path)
            self.removed += 1
            return
        if kind == 1:
            os.truncate(path, self.rng.randrange(size + 1))
        elif kind == 2:
            os.rename(path, path + ".renamed")
        elif kind == 3:
            os.link(path, path + ".linked")
        elif kind == 4:
            with open(path, "rb") as file, open(path + ".cloned", "wb") as clone:
                fcntl.ioctl(clone, FICLONE, file.fileno())
        else:
            with open(path, "r+b", buffering=0) as file:
                file.seek(size if kind == 5 else self.rng.randrange(size + 1))
                file.write(self.rng.randbytes(self.rng.choice((1, 700, 4096, 70_000))))
                if self.rng.random() < 0.2:
                    os.fsync(file.fileno())
        self.changed += 1

    def _add(self):
        folder = os.path.join(self.root, "judge")
        os.makedirs(folder, exist_ok=True)
        status = os.statvfs(self.root)
        room = status.f_bavail * status.f_frsize
        for index, size in enumerate((0, 100, 2000, 5000, 70_000, 1 << 20, 3 << 20) * 8):
            if size > room // 64:
                continue
            with open(os.path.join(folder, f"file{index}"), "wb", buffering=0) as file:
                file.write(self.rng.randbytes(size))
            self.added += 1
