# SPDX-License-Identifier: LGPL-2.1-or-later
"""The reference: what btrfs-progs says is free in an image.

Two lists are made of one image, by ways that share nothing but the chunk map:

  from_extents()     the complement of the EXTENT_ITEMs and METADATA_ITEMs inside each block group
  from_free_space()  the FREE_SPACE_EXTENTs and FREE_SPACE_BITMAPs of the free-space tree

and from both the ranges that hold copies of the super block are taken out, as the kernel does when
it loads a group. Everything comes from `btrfs inspect-internal dump-tree`, but one thing: dump-tree
names a bitmap and does not print its bits, so these are read from the leaf itself, found through
the chunk map (Chunk.physical) and checked against the address in the leaf's header.

This file knows nothing of how images are made (images.py) or of the library under test.
"""

import re
import subprocess

STRIPE = 65536
SUPER_COPIES = (64 << 10, 64 << 20, 256 << 30)
NODE_HEADER = 101
BITMAP_BYTES = 256


class ReferenceError(Exception):
    """The image could not be described; the text says why."""


def command(*words, **options):
    """Runs a program to its end; returns its output, or raises with its last words."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="replace", **options)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-2:]
        raise ReferenceError(f"{' '.join(words[:4])} …: status {done.returncode}: {'; '.join(last)}")
    return done.stdout


# ---- chunks -------------------------------------------------------------------------------------

class Chunk:
    """One chunk: where a range of logical addresses lies on devices."""

    def __init__(self, start, length, kind):
        self.start, self.length, self.kind = start, length, kind
        self.stripes = []  # (devid, physical)
        self.sub_stripes = 1

    @property
    def profile(self):
        return self.kind.split("|")[-1].upper()

    @property
    def data_stripes(self):
        """How many stripes of a row hold different bytes."""
        count, profile = len(self.stripes), self.profile
        if profile == "RAID0":
            return count
        if profile == "RAID10":
            return count // self.sub_stripes
        if profile in ("RAID5", "RAID6"):
            return count - (1 if profile == "RAID5" else 2)
        return 1

    @property
    def stripe_length(self):
        """Bytes of each device that the chunk takes."""
        return self.length // self.data_stripes

    def physical(self, logical):
        """(devid, address) of the first copy of a byte."""
        offset = logical - self.start
        if self.data_stripes == 1 and self.profile not in ("RAID0", "RAID10", "RAID5", "RAID6"):
            devid, base = self.stripes[0]
            return devid, base + offset
        number, rest = divmod(offset, STRIPE)
        row, column = divmod(number, self.data_stripes)
        if self.profile == "RAID10":
            column *= self.sub_stripes
        elif self.profile in ("RAID5", "RAID6"):
            column = (column + row) % len(self.stripes)
        devid, base = self.stripes[column]
        return devid, base + row * STRIPE + rest

    def copies(self, logical):
        """(devid, address) of every copy of a byte, for the profiles that only copy."""
        return [(devid, base + logical - self.start) for devid, base in self.stripes]

    def super_ranges(self):
        """Logical ranges that the kernel keeps free of extents because a super block copy may lie
        there. It looks at device addresses only, not at which device, and on RAID5 and RAID6 takes
        the whole row, parity being anywhere in it."""
        raid56 = self.profile in ("RAID5", "RAID6")
        unit = STRIPE * self.data_stripes if raid56 else STRIPE
        for copy in SUPER_COPIES:
            for index, (_, base) in enumerate(self.stripes):
                if not base <= copy < base + self.stripe_length:
                    continue
                row, rest = divmod(copy - base, STRIPE)
                if self.profile == "RAID0":
                    row = row * len(self.stripes) + index
                elif self.profile == "RAID10":
                    row = (row * len(self.stripes) + index) // self.sub_stripes
                first = self.start + row * unit + rest
                yield first, min(first + unit, self.start + self.length)
        if self.start < SUPER_COPIES[0]:
            yield self.start, min(SUPER_COPIES[0], self.start + self.length)


def parse_chunks(text):
    chunks, chunk = [], None
    for line in text.splitlines():
        line = line.strip()
        if found := re.match(r"item \d+ key \(\S+ (\w+) (\d+)\)", line):
            chunk = Chunk(int(found[2]), 0, "") if found[1] == "CHUNK_ITEM" else None
            if chunk:
                chunks.append(chunk)
        elif chunk is None:
            continue
        elif found := re.match(r"length (\d+) owner \d+ stripe_len (\d+) type (\S+)", line):
            chunk.length, chunk.kind = int(found[1]), found[3]
            if int(found[2]) != STRIPE:
                raise ReferenceError(f"chunk {chunk.start}: stripe_len {found[2]}")
        elif found := re.match(r"num_stripes \d+ sub_stripes (\d+)", line):
            chunk.sub_stripes = max(1, int(found[1]))
        elif found := re.match(r"stripe \d+ devid (\d+) offset (\d+)", line):
            chunk.stripes.append((int(found[1]), int(found[2])))
    return sorted(chunks, key=lambda chunk: chunk.start)


# ---- ranges -------------------------------------------------------------------------------------

def merged(ranges):
    """Sorted, disjoint, touching ones joined. Ranges are (first, end)."""
    out = []
    for first, end in sorted(ranges):
        if first >= end:
            continue
        if out and first <= out[-1][1]:
            out[-1][1] = max(out[-1][1], end)
        else:
            out.append([first, end])
    return out


def subtract(ranges, holes):
    """The parts of `ranges` outside every one of `holes`."""
    out, holes, at = [], merged(holes), 0
    for first, end in merged(ranges):
        while at < len(holes) and holes[at][1] <= first:
            at += 1
        probe = at
        while probe < len(holes) and holes[probe][0] < end:
            if holes[probe][0] > first:
                out.append([first, holes[probe][0]])
            first = max(first, holes[probe][1])
            probe += 1
        if first < end:
            out.append([first, end])
    return out


# ---- one image ----------------------------------------------------------------------------------

class Image:
    """An unmounted file system on these files, as btrfs-progs sees it."""

    def __init__(self, paths):
        self.paths = list(paths)
        super_text = command("btrfs", "inspect-internal", "dump-super", self.paths[0])
        fields = dict(re.findall(r"^(\w+)\s+(\S+)", super_text, re.MULTILINE))
        self.sector = int(fields["sectorsize"])
        self.node = int(fields["nodesize"])
        compat_ro = int(fields["compat_ro_flags"], 16)
        self.has_free_space_tree = compat_ro & 3 == 3
        self.has_block_group_tree = bool(compat_ro & 8)
        self.chunks = parse_chunks(self._dump("chunk"))
        self._devices = None
        self._extents, self.groups = [], []
        self._parse_extents(self._dump("extent"))
        if self.has_block_group_tree:
            self._parse_extents(self._dump("11"))
        self.groups.sort(key=lambda group: group["start"])

    def _dump(self, tree):
        return command("btrfs", "inspect-internal", "dump-tree", "-t", tree, *self.paths)

    def _parse_extents(self, text):
        group = None
        for line in text.splitlines():
            line = line.lstrip()
            if line.startswith("item "):
                group = None
                found = re.match(r"item \d+ key \((\d+) (\w+) (\d+)\)", line)
                if not found:
                    continue
                start, kind, offset = int(found[1]), found[2], int(found[3])
                if kind == "EXTENT_ITEM":
                    self._extents.append((start, start + offset))
                elif kind == "METADATA_ITEM":
                    self._extents.append((start, start + self.node))
                elif kind == "BLOCK_GROUP_ITEM":
                    group = {"start": start, "length": offset}
                    self.groups.append(group)
            elif group and (found := re.match(
                    r"block group used (\d+) chunk_objectid \d+ flags (\S+)", line)):
                group["used"], group["flags"] = int(found[1]), found[2]

    def chunk_at(self, logical):
        for chunk in self.chunks:
            if chunk.start <= logical < chunk.start + chunk.length:
                return chunk
        raise ReferenceError(f"no chunk holds {logical}")

    def read(self, logical, length):
        """Bytes by logical address. A node never crosses a stripe, so one read does."""
        if self._devices is None:
            self._devices = {}
            for path in self.paths:
                with open(path, "rb") as device:
                    device.seek(SUPER_COPIES[0] + 0xC9)  # dev_item.devid
                    self._devices[int.from_bytes(device.read(8), "little")] = path
        devid, physical = self.chunk_at(logical).physical(logical)
        with open(self._devices[devid], "rb") as device:
            device.seek(physical)
            return device.read(length)

    def _bitmap(self, leaf, item_offset, item_size, start, length):
        raw = self.read(leaf, self.node)
        if int.from_bytes(raw[48:56], "little") != leaf:
            raise ReferenceError(f"leaf {leaf} is not where the chunk map says")
        bits = int.from_bytes(raw[NODE_HEADER + item_offset:][:item_size], "little")
        count = length // self.sector
        text = format(bits, "b")[::-1].ljust(count, "0")[:count]
        for run in re.finditer("1+", text):
            yield start + run.start() * self.sector, start + run.end() * self.sector

    def _free_space_items(self):
        """(start, end, is_bitmap) of everything the free-space tree calls free, and the number of
        free runs it claims for each group."""
        leaf, free, counts, info = None, [], {}, None
        for line in self._dump("10").splitlines():
            line = line.lstrip()
            if found := re.match(r"leaf (\d+) items", line):
                leaf = int(found[1])
            elif found := re.match(
                    r"item \d+ key \((\d+) (\w+) (\d+)\) itemoff (\d+) itemsize (\d+)", line):
                start, kind, length = int(found[1]), found[2], int(found[3])
                if kind == "FREE_SPACE_INFO":
                    info = start
                elif kind == "FREE_SPACE_EXTENT":
                    free.append((start, start + length))
                elif kind == "FREE_SPACE_BITMAP":
                    free += self._bitmap(leaf, int(found[4]), int(found[5]), start, length)
            elif found := re.match(r"free space info extent count (\d+)", line):
                counts[info] = int(found[1])
        return merged(free), counts

    def _described(self, free_of):
        out = []
        for group in self.groups:
            first, end = group["start"], group["start"] + group["length"]
            holes = [hole for chunk in self.chunks if chunk.start == first
                     for hole in chunk.super_ranges()]
            free = subtract(free_of(first, end), holes)
            out.append({
                "start": first, "length": group["length"], "flags": group["flags"],
                "used": group["used"], "free": sum(end - first for first, end in free),
                "free_extents": [[first, end - first] for first, end in free],
            })
        return out

    def check_itself(self, data_is_full):
        """Raises where the reference's own premises do not hold: a group's used bytes are its
        extents; no extent lies on a super block copy; and where the kernel was made to fill every
        data group, nothing claimable is left in one (so the ranges kept for super block copies are
        exactly those of the kernel, not more and not less)."""
        extents = merged(self._extents)
        for group in self._described(lambda first, end: [(first, end)]):
            first, end = group["start"], group["start"] + group["length"]
            taken = group["length"] - sum(b - a for a, b in subtract([(first, end)], extents))
            if taken != group["used"]:
                raise ReferenceError(f"group {first}: used {group['used']}, extents {taken}")
            claimable = [(a, a + length) for a, length in group["free_extents"]]
            if sum(b - a for a, b in subtract(claimable, extents)) + taken != group["free"]:
                raise ReferenceError(f"group {first}: an extent lies on a super block copy")
        if data_is_full:
            left = [group for group in self.from_extents()
                    if "DATA" in group["flags"].split("|") and group["free"]]
            if left:
                raise ReferenceError(f"group {left[0]['start']}: {left[0]['free_extents'][:3]} "
                                     "free where the kernel found no room")

    def super_range_count(self):
        """How many ranges inside chunks are kept for super block copies."""
        return sum(len(merged(chunk.super_ranges())) for chunk in self.chunks)

    def from_extents(self):
        """The list by the extent tree."""
        extents = merged(self._extents)

        def free_of(first, end):
            inside = [(a, b) for a, b in extents if a < end and b > first]
            return subtract([(first, end)], inside)
        return self._described(free_of)

    def from_free_space(self):
        """The list by the free-space tree, or None where there is no valid one. Items of groups
        that are gone are passed over, as by the kernel."""
        if not self.has_free_space_tree:
            return None
        free, counts = self._free_space_items()

        def free_of(first, end):
            inside = [(max(a, first), min(b, end)) for a, b in free if a < end and b > first]
            if counts.get(first) != len(inside):
                raise ReferenceError(f"group {first}: the free-space tree counts "
                                     f"{counts.get(first)} runs and holds {len(inside)}")
            return inside
        return self._described(free_of)

    def bitmap_count(self):
        return self._dump("10").count("FREE_SPACE_BITMAP") if self.has_free_space_tree else 0


def first_difference(name_a, a, name_b, b):
    """One line naming the first place where two lists differ, or None."""
    by_a, by_b = ({group["start"]: group for group in groups} for groups in (a, b))
    for start in sorted(set(by_a) | set(by_b)):
        if start not in by_a or start not in by_b:
            return f"group {start} only in {name_a if start in by_a else name_b}"
        for key in ("length", "flags", "used"):
            if by_a[start].get(key) != by_b[start].get(key):
                return (f"group {start}: {key} {by_a[start].get(key)} by {name_a}, "
                        f"{by_b[start].get(key)} by {name_b}")
        runs_a, runs_b = (by[start].get("free_extents", []) for by in (by_a, by_b))
        for index in range(max(len(runs_a), len(runs_b))):
            run_a = runs_a[index] if index < len(runs_a) else None
            run_b = runs_b[index] if index < len(runs_b) else None
            if run_a != run_b:
                return f"group {start}: free run {index} {run_a} by {name_a}, {run_b} by {name_b}"
        if by_a[start].get("free") != by_b[start].get("free"):
            return (f"group {start}: free {by_a[start].get('free')} by {name_a}, "
                    f"{by_b[start].get('free')} by {name_b}")
    order = [group["start"] for group in b]
    return None if order == sorted(order) else f"{name_b} is not sorted"
