# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes single facts of a sound image, every checksum right: to see that the judge notices.

An Editor reads trees through the chunk map of Tests/Referee/reference.py and writes every copy of a block.
crc32c checksums only, and profiles that only copy.
"""

import os
import struct
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Referee"))
from block_group_tree import Leaf  # noqa: E402
from reference import SUPER_COPIES, Image  # noqa: E402

ROOT_TREE, EXTENT_TREE, CHUNK_TREE, DEVICE_TREE, FS_TREE, CHECKSUM_TREE, FREE_SPACE_TREE = (
    1, 2, 3, 4, 5, 7, 10)
INODE_ITEM, DIR_ITEM, DIR_INDEX, EXTENT_DATA, ROOT_ITEM, EXTENT_ITEM, METADATA_ITEM = (
    1, 84, 96, 108, 132, 168, 169)
BLOCK_GROUP_ITEM, FREE_SPACE_INFO, FREE_SPACE_EXTENT, DEV_EXTENT, DEV_ITEM, CHUNK_ITEM = (
    192, 198, 199, 204, 216, 228)
EXTENT_CSUM = 128


def _table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


TABLE = tuple(_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def seal(block):
    """Writes the checksum of a super block or tree block into it."""
    block[:32] = struct.pack("<I28x", crc32c(block[32:]))


class Editor:
    """A sound image on these files, whose blocks are changed in place."""

    def __init__(self, paths):
        self.paths = paths
        self.image = Image(paths)
        with open(paths[0], "rb") as file:
            file.seek(SUPER_COPIES[0])
            self.super = bytearray(file.read(4096))
        if self.super[0xC4:0xC6] != b"\0\0":
            raise ValueError("only images with crc32c checksums are operated on")
        self.node = self.image.node
        self.roots = {ROOT_TREE: self._super_u64(0x50), CHUNK_TREE: self._super_u64(0x58)}
        for leaf in self.leaves(ROOT_TREE):
            for key, body in leaf.items:
                if key[1] == ROOT_ITEM:
                    self.roots[key[0]] = struct.unpack_from("<Q", body, 176)[0]

    def _super_u64(self, offset):
        return struct.unpack_from("<Q", self.super, offset)[0]

    # ---- blocks ---------------------------------------------------------------------------------

    def write(self, logical, block):
        """Seals a tree block and writes its every copy."""
        block = bytearray(block)
        seal(block)
        self._write_copies(logical, block)

    def _write_copies(self, logical, data):
        for devid, physical in self.image.chunk_at(logical).copies(logical):
            with open(self.image._devices[devid], "r+b") as file:
                file.seek(physical)
                file.write(data)

    def write_super(self, change):
        """Changes the super block: `change` gets it as a bytearray; every copy follows."""
        change(self.super)
        for path in self.paths:
            length = os.path.getsize(path)
            with open(path, "r+b") as file:
                for copy in SUPER_COPIES:
                    if copy + 4096 <= length:
                        struct.pack_into("<Q", self.super, 48, copy)
                        seal(self.super)
                        file.seek(copy)
                        file.write(self.super)

    def data(self, logical, change):
        """Changes bytes of data in every copy, checksums untouched."""
        block = bytearray(self.image.read(logical, 4096))
        change(block)
        self._write_copies(logical, block)

    # ---- trees ----------------------------------------------------------------------------------

    def leaves(self, tree):
        """Every leaf, in order; each knows its `logical`."""
        todo = [self.roots[tree]]
        while todo:
            logical = todo.pop(0)
            raw = self.image.read(logical, self.node)
            count, level = struct.unpack_from("<IB", raw, 96)
            if level:
                todo = [struct.unpack_from("<Q", raw, 101 + 33 * slot + 17)[0]
                        for slot in range(count)] + todo
                continue
            leaf = Leaf(raw)
            leaf.logical = logical
            yield leaf

    def items(self, tree, kind):
        """(leaf, index) of every item of a type."""
        for leaf in self.leaves(tree):
            for index, (key, _) in enumerate(leaf.items):
                if key[1] == kind:
                    yield leaf, index

    def change(self, tree, kind, change, which=lambda key, body: True):
        """Changes the first item of a type for which `which` holds: `change` gets key and body, and returns
        both anew, or None to remove it."""
        for leaf, index in self.items(tree, kind):
            key, body = leaf.items[index]
            if not which(key, body):
                continue
            new = change(key, bytearray(body))
            leaf.items[index:index + 1] = [] if new is None else [[new[0], bytes(new[1])]]
            self.write(leaf.logical, leaf.packed())
            return
        raise ValueError(f"no item of type {kind} in tree {tree} to change")

    def add_to(self, tree, kind, offset, by, which=lambda key, body: True, width="<Q"):
        """Adds to a number inside an item."""
        def change(key, body):
            value = struct.unpack_from(width, body, offset)[0]
            struct.pack_into(width, body, offset, value + by)
            return key, body
        self.change(tree, kind, change, which)
