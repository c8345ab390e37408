# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a tree of files holds, as sums, and how two of them differ."""

import hashlib
import os
import stat

from checks import Failed


class Tree:
    """Paths, relative to the root, each with what is there: ("file", mode, size, sum), ("dir", mode),
    ("link", target) or ("other", mode, device). A part that is not known is None."""

    def __init__(self, entries):
        self.entries = entries

    @property
    def files(self):
        return [path for path, entry in self.entries.items() if entry[0] == "file"]

    @property
    def bytes(self):
        return sum(entry[2] or 0 for entry in self.entries.values() if entry[0] == "file")

    @classmethod
    def of_folder(cls, root):
        """Reads every byte of a folder. Folders in other file systems than the root's are entered:
        subvolumes look like that."""
        root = os.fsencode(root)
        entries = {}
        for folder, folders, files in os.walk(root, onerror=cls._raise):
            folders.sort()
            for name in folders + files:
                path = os.path.join(folder, name)
                entries[os.path.relpath(path, root)] = cls._entry(path)
        return cls(entries)

    @staticmethod
    def _raise(error):
        raise error

    @staticmethod
    def _entry(path):
        status = os.lstat(path)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            return "dir", mode
        if stat.S_ISLNK(status.st_mode):
            return "link", os.readlink(path)
        if stat.S_ISREG(status.st_mode):
            total = hashlib.sha256()
            with open(path, "rb", buffering=0) as file:
                while piece := file.read(1 << 20):
                    total.update(piece)
            return "file", mode, status.st_size, total.hexdigest()
        return "other", mode, status.st_rdev

    @classmethod
    def of_manifest(cls, path):
        entries = {}
        with open(path, "rb") as file:
            for line in file:
                total, _, name = line.rstrip(b"\n").partition(b"  ")
                if len(total) != 64 or not name:
                    raise ValueError(f"{path}: not a line of sha256sum: {line[:80]!r}")
                entries[os.path.normpath(name)] = ("file", None, None, total.decode())
        return cls(entries)

    def manifest(self):
        """Lines as of sha256sum; only files."""
        for path, entry in sorted(self.entries.items()):
            if entry[0] == "file":
                yield f"{entry[3]}  {os.fsdecode(path)}\n"

    def describe(self):
        return f"{len(self.files)} files, {self.bytes} bytes"


def compare(expected, found, partial=False):
    """Raises Failed with a line for each difference."""
    lines = []
    only_files = all(entry[0] == "file" and entry[1] is None for entry in expected.entries.values())
    for path, entry in sorted(expected.entries.items()):
        other = found.entries.get(path)
        name = os.fsdecode(path)
        if other is None:
            lines.append(f"{name}: missing")
            continue
        same = len(entry) == len(other) and all(
            a is None or a == b for a, b in zip(entry, other))
        if not same:
            lines.append(f"{name}: is {other}, must be {entry}")
    if not partial:
        for path, entry in sorted(found.entries.items()):
            if path not in expected.entries and not (only_files and entry[0] != "file"):
                lines.append(f"{os.fsdecode(path)}: must not be there")
    if lines:
        raise Failed(f"{len(lines)} differences\n" + "\n".join(lines))
