# SPDX-License-Identifier: LGPL-2.1-or-later
"""The images: every case the referee tries, how each is made and how the kernel ages it.

A case is made by mkfs.btrfs alone (no root needed), or also mounted on loop devices and worked on,
with everything drawn from one printed seed. Nothing stays behind on any way out: each mount and
each loop device is undone by the `finally` of the function that made it.
"""

import os
import random
import subprocess
import tempfile

import block_group_tree
from reference import ReferenceError, command

MIB = 1 << 20
GIB = 1 << 30


class Case:
    """One image to make.

    options   words for mkfs.btrfs
    devices   how many files, each of `size` bytes (sparse)
    ageing    None, "files" (random files), "dense" (many 4 KiB files, every other one removed, so
              that free space turns into bitmaps), "full" (data until nothing fits any more) or
              "huge" (files reserved past 256 GiB)
    mount     mount options
    rootdir   fill by `mkfs.btrfs --rootdir` instead
    quick     part of a --quick run
    block_group_tree  have one: by mkfs.btrfs where it can, else by converting the fresh image
    """

    def __init__(self, name, *options, devices=1, size=300 * MIB, ageing=None, mount="",
                 rootdir=False, quick=False, block_group_tree=False):
        self.name, self.options, self.devices, self.size = name, options, devices, size
        self.ageing, self.mount, self.rootdir = ageing, mount, rootdir
        self.quick, self.block_group_tree = quick, block_group_tree


PROFILES = {
    "single": 1, "dup": 1, "raid0": 3, "raid1": 2, "raid1c3": 3, "raid1c4": 4, "raid10": 4,
    "raid5": 3, "raid6": 4,
}


def cases():
    """Every case, in the order they are tried."""
    out = [
        Case("plain", quick=True),
        Case("small-mixed", "-M", size=64 * MIB, quick=True),
        Case("rootdir", rootdir=True, quick=True),
        Case("rootdir-xxhash-4k", "--csum", "xxhash", "-n", "4096", rootdir=True),
        Case("no-tree", "-R", "^free-space-tree", quick=True),
        Case("fat-metadata", "-O", "^skinny-metadata", quick=True),
        Case("no-holes-off", "-O", "^no-holes"),
        Case("block-group-tree", block_group_tree=True, quick=True),
        Case("odd-size", size=300 * MIB + 12 * 4096),
    ]
    for profile, devices in PROFILES.items():
        out.append(Case(f"profile-{profile}", "-d", profile, "-m", profile, devices=devices))
        out.append(Case(f"aged-{profile}", "-d", profile, "-m", profile, devices=devices,
                        ageing="files", quick=profile in ("raid0", "raid10", "raid6")))
    out += [
        Case("data-raid5-meta-raid1", "-d", "raid5", "-m", "raid1", devices=4, ageing="files"),
        Case("data-raid0-meta-dup", "-d", "raid0", "-m", "raid1c3", devices=5, ageing="dense"),
        Case("two-devices-single", "-d", "single", "-m", "raid1", devices=2, ageing="dense"),
    ]
    for checksum in ("crc32c", "xxhash", "sha256", "blake2"):
        out.append(Case(f"aged-{checksum}", "--csum", checksum, ageing="files",
                        quick=checksum != "crc32c"))
    for node in (4096, 8192, 32768, 65536):
        # Large nodes want large metadata groups: in small ones the kernel flushes for minutes.
        out.append(Case(f"aged-node-{node >> 10}k", "-n", str(node), ageing="dense",
                        size=300 * MIB if node < 32768 else 1536 * MIB,
                        quick=node in (4096, 65536)))
    for profile in ("single", "raid0", "raid1", "raid10", "raid5", "raid6"):
        out.append(Case(f"full-{profile}", "-d", profile, "-m", "raid1", ageing="full",
                        size=200 * MIB, devices=max(2, PROFILES[profile]),
                        quick=profile in ("raid10", "raid5")))
    out += [
        Case("aged-bitmaps", ageing="dense", quick=True),
        Case("aged-mixed", "-M", ageing="dense", quick=True),
        Case("aged-mixed-dup", "-M", "-d", "dup", "-m", "dup", ageing="files"),
        Case("aged-no-tree", "-R", "^free-space-tree", ageing="dense", mount="nospace_cache",
             quick=True),
        Case("aged-v1-cache", "-R", "^free-space-tree", ageing="files", mount="space_cache=v1"),
        Case("aged-fat-metadata", "-O", "^skinny-metadata", ageing="dense"),
        Case("aged-compressed", ageing="files", mount="compress-force=zstd"),
        Case("aged-rootdir", rootdir=True, ageing="files"),
        Case("aged-block-group-tree", block_group_tree=True, ageing="dense", quick=True),
        Case("aged-block-group-tree-64k", "-n", "65536", block_group_tree=True, ageing="files",
             size=1536 * MIB),
        Case("huge-block-group-tree", "-n", "8192", block_group_tree=True, size=300 * GIB,
             ageing="huge"),
        Case("huge-sparse", size=300 * GIB, ageing="huge", quick=True),
        Case("large-groups", "-d", "single", size=24 * GIB, ageing="files"),
    ]
    return out


# ---- what this machine can do -------------------------------------------------------------------

def offered_features():
    """The words that mkfs.btrfs takes after -O and -R."""
    text = ""
    for flag in ("-O", "-R"):
        done = subprocess.run(["mkfs.btrfs", flag, "list-all"], capture_output=True, text=True)
        text += done.stdout + done.stderr
    return {line.split()[0] for line in text.splitlines() if " - " in line}


def mount_refusal():
    """Why images cannot be mounted here, or None when they can: tried, not guessed."""
    if os.geteuid() != 0:
        return "not root"
    try:
        with tempfile.TemporaryDirectory(prefix="bg-referee-") as folder:
            path = make_image(Case("probe", size=128 * MIB), folder, random.Random(0))[0]
            with_mounted([path], "", lambda root: None)
    except (ReferenceError, OSError) as error:
        return f"no loop mounts of btrfs here ({error})"
    return None


# ---- making -------------------------------------------------------------------------------------

def make_image(case, folder, rng):
    """Makes the files of a case in `folder` and returns their paths."""
    paths = []
    for index in range(case.devices):
        path = os.path.join(folder, f"{case.name}.{index}.img")
        with open(path, "wb") as file:
            file.truncate(case.size)
        paths.append(path)
    words = ["mkfs.btrfs", "-q", "-f", *case.options]
    convert = case.block_group_tree and "block-group-tree" not in offered_features()
    if case.block_group_tree:
        words += ["--csum", "sha256"] if convert else ["-O", "block-group-tree"]
    if not case.rootdir:
        command(*words, *paths)
        if convert:
            block_group_tree.convert(paths)
        return paths
    with tempfile.TemporaryDirectory(prefix="bg-referee-root-") as root:
        fill_folder(root, rng)
        command(*words, "--rootdir", root, *paths)
    return paths


def fill_folder(root, rng):
    """A small tree of files of every size class, for --rootdir."""
    for directory in range(8):
        os.mkdir(os.path.join(root, f"d{directory}"))
        for file in range(25):
            write_file(os.path.join(root, f"d{directory}", f"f{file}"), file_size(rng), rng)


def file_size(rng):
    """70 % up to 64 KiB, 25 % up to 512 KiB, 5 % up to 4 MiB: log-uniform inside each."""
    draw = rng.random()
    low, high = ((0, 16), (16, 19), (19, 22))[(draw >= 0.7) + (draw >= 0.95)]
    return int(2 ** rng.uniform(low, high))


def write_file(path, length, rng):
    block = rng.randbytes(min(length, 4096)) or b"\0"
    with open(path, "wb", buffering=0) as file:
        file.write((block * (length // len(block) + 1))[:length])


# ---- ageing by the kernel -----------------------------------------------------------------------

def age_image(case, paths, rng):
    """Mounts the image, works on it, and unmounts it cleanly."""
    work = {"files": age_with_files, "dense": age_densely, "full": fill_up,
            "huge": reserve_past_256_gib}
    with_mounted(paths, case.mount, lambda root: work[case.ageing](root, rng))


def with_mounted(paths, options, body):
    """Calls body(mount point) with the image mounted; undoes everything on every way out."""
    loops, mounted = [], False
    root = tempfile.mkdtemp(prefix="bg-referee-mount-")
    try:
        for path in paths:
            loops.append(command("losetup", "--find", "--show", path).strip())
        words = [word for word in [options] if word] + [f"device={loop}" for loop in loops]
        command("mount", "-t", "btrfs", "-o", ",".join(words), loops[0], root)
        mounted = True
        body(root)
    finally:
        failures = []
        if mounted:
            undo(failures, "umount", root)
        for loop in loops:
            # The kernel remembers scanned devices by UUID; a stale one would be taken for ours.
            subprocess.run(["btrfs", "device", "scan", "--forget", loop], capture_output=True)
            undo(failures, "losetup", "--detach", loop)
        os.rmdir(root)
    if failures:
        raise ReferenceError("; ".join(failures))


def undo(failures, *words):
    try:
        command(*words)
    except ReferenceError as error:
        failures.append(str(error))


def age_with_files(root, rng):
    """Files created, overwritten, truncated and removed at random, in subvolumes and snapshots."""
    subvolumes, snapshots, files = [root], 0, []
    for step in range(700):
        draw = rng.random()
        try:
            if draw < 0.55 or not files:
                path = os.path.join(rng.choice(subvolumes), f"f{step}")
                write_file(path, file_size(rng), rng)
                files.append(path)
            elif draw < 0.80:
                os.unlink(files.pop(rng.randrange(len(files))))
            elif draw < 0.90:
                with open(rng.choice(files), "r+b", buffering=0) as file:
                    file.seek(rng.randrange(1 << 18) & ~4095)
                    file.write(rng.randbytes(4096) * rng.randint(1, 16))
            elif draw < 0.94:
                os.truncate(rng.choice(files), rng.randrange(1 << 17))
            elif draw < 0.96 and len(subvolumes) < 5:
                path = os.path.join(root, f"sub{step}")
                command("btrfs", "subvolume", "create", path)
                subvolumes.append(path)
            elif draw < 0.97 and snapshots < 4:
                snapshots += 1
                command("btrfs", "subvolume", "snapshot", rng.choice(subvolumes),
                        os.path.join(root, f"snapshot{step}"))
            elif draw < 0.98:
                os.sync()
        except OSError as error:
            if error.errno != 28:  # a full file system is a state worth seeing, not a failure
                raise


def age_densely(root, rng):
    """Thousands of 4 KiB files, of which about every other one goes again: many single-sector runs,
    more than the free-space tree keeps as extents."""
    paths = []
    block = rng.randbytes(4096)
    try:
        for index in range(5000):
            path = os.path.join(root, f"s{index}")
            with open(path, "wb", buffering=0) as file:
                file.write(block)
            paths.append(path)
    except OSError as error:
        if error.errno != 28:
            raise
    command("sync", "-f", root)
    for path in paths:
        if rng.random() < 0.5:
            os.unlink(path)
    command("sync", "-f", root)
    for index in range(40):
        write_file(os.path.join(root, f"t{index}"), rng.randrange(1 << 16), rng)


def fill_up(root, rng):
    """Writes until not one sector of data fits any more."""
    for size in (MIB, 65536, 4096):
        try:
            for index in range(1 << 20):
                with open(os.path.join(root, f"x{size}-{index}"), "wb", buffering=0) as file:
                    file.write(bytes(size))
                if index % 64 == 0:
                    command("sync", "-f", root)
        except OSError as error:
            if error.errno != 28:
                raise
        command("sync", "-f", root)


def reserve_past_256_gib(root, rng):
    """Reserves space without writing it, until data groups lie around the third super block copy;
    then removes about half of the files there, so that free runs touch the copy's range."""
    reserve(os.path.join(root, "below"), 253 * GIB)
    names = [os.path.join(root, f"around{index}") for index in range(400)]
    for name in names:
        reserve(name, rng.randrange(1, 32 * 256) * 4096)
    command("sync", "-f", root)
    for name in names:
        if rng.random() < 0.6:
            os.unlink(name)


def reserve(path, length):
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, length)
