// The table of faults that PlantedFaultTests plants.

import BGDiskFormat
import Foundation

@testable import BlockGroups

private func isFirstFile(_ item: Item) -> Bool {
    // A file with extents of its own: its reference says file0 to file11.
    item.key.type == .inodeItem && item.data.number(52, 4) & 0o170000 == 0o100000
        && item.data.number(16) > 4096
}

private func isRegular(_ item: Item) -> Bool {
    item.key.type == .extentData && item.data.count == 53
}

private func isData(_ item: Item) -> Bool {
    item.key.type == .extentItem && item.data.number(16) & 1 != 0
}

private func isTree(_ item: Item) -> Bool { item.key.type == .metadataItem }

/// A free run that can lose a sector.
private func freeExtent(_ item: Item) -> Bool {
    item.key.type == .freeSpaceExtent && item.key.offset > 65536
}

private func freeInfo(_ item: Item) -> Bool { item.key.type == .freeSpaceInfo }

extension ImageEditor {
    /// An address in the middle of free bytes for data.
    fileprivate func freeData() throws -> UInt64 {
        let group = try find(2) {
            $0.key.type == .blockGroupItem && $0.data.number(16) & 1 != 0
        }
        let free = try find(10) {
            freeExtent($0) && $0.key.objectid >= group.key.objectid && $0.key.offset > 1 << 20
        }
        return free.key.objectid + 65536
    }
}

let plantedFaults: [PlantedFault] =
    superFaults + chunkFaults + extentFaults + spaceFaults + fileFaults + nameFaults

private let superFaults: [PlantedFault] = [
    PlantedFault("super generation + 1", .superBlock) { try $0.editSuper { $0.add(72, 1) } },
    PlantedFault("super root level", .superBlock) { try $0.editSuper { $0[198] ^= 1 } },
    PlantedFault("super total_bytes", .superBlock) { try $0.editSuper { $0.add(112, 4096) } },
    PlantedFault("super bytes_used", .superBlock) { try $0.editSuper { $0.add(120, 4096) } },
    PlantedFault("super num_devices", .superBlock) { try $0.editSuper { $0.set(136, 2) } },
    PlantedFault("super root directory", .superBlock) { try $0.editSuper { $0.set(128, 7) } },
    PlantedFault("super device item used", .device) { try $0.editSuper { $0.add(201 + 16, 4096) } },
    PlantedFault("super checksum", .superBlock) { editor in
        try editor.editSuper { $0[4000] ^= 1 }
        // Behind the seal: the one that the editor made no longer fits.
        try editor.breakSuper()
    },
]

private let chunkFaults: [PlantedFault] = [
    PlantedFault("system chunk differs in the array", .chunk) {
        // io_align of the first chunk of the array.
        try $0.editSuper { $0.add(811 + 17 + 32, 4096, 4) }
    },
    PlantedFault("chunk missing", .blockGroup) {
        try $0.removeItem(3) { $0.key.type == .chunkItem && $0.data.number(24) & 1 != 0 }
    },
    PlantedFault("chunk owner", .chunk) {
        try $0.editItem(3, { $0.key.type == .chunkItem && $0.data.number(24) & 1 != 0 }) {
            $0.data.set(8, 5)
        }
    },
    PlantedFault("chunk stripe length", .chunk) {
        try $0.editItem(3, { $0.key.type == .chunkItem && $0.data.number(24) & 1 != 0 }) {
            $0.data.set(16, 4096)
        }
    },
    PlantedFault("device item used", .device) {
        try $0.editItem(3, { $0.key.type == .deviceItem }) { $0.data.add(16, 4096) }
    },
    PlantedFault("device item total", .device) {
        try $0.editItem(3, { $0.key.type == .deviceItem }) {
            $0.data.add(8, UInt64(bitPattern: -65536))
        }
    },
    PlantedFault("device extent missing", .deviceExtent) {
        try $0.removeItem(4) { $0.key.type == .deviceExtent }
    },
    PlantedFault("device extent length", .deviceExtent) {
        try $0.editItem(4, { $0.key.type == .deviceExtent }) { $0.data.add(24, 65536) }
    },
    PlantedFault("device extent of another chunk", .deviceExtent) {
        try $0.editItem(4, { $0.key.type == .deviceExtent }) { $0.data.add(16, 65536) }
    },
    PlantedFault("block group missing", .chunk) {
        try $0.removeItem(2) { $0.key.type == .blockGroupItem }
    },
    PlantedFault("block group used", .blockGroup) {
        try $0.editItem(2, { $0.key.type == .blockGroupItem }) { $0.data.add(0, 4096) }
    },
    PlantedFault("block group profile", .blockGroup) {
        try $0.editItem(2, { $0.key.type == .blockGroupItem }) { $0.data.add(16, 1 << 5) }
    },
    PlantedFault("block group chunk object id", .blockGroup) {
        try $0.editItem(2, { $0.key.type == .blockGroupItem }) { $0.data.set(8, 257) }
    },
    PlantedFault("block group without chunk", .blockGroup) {
        try $0.insertItem(
            2,
            Item(
                key: Key(1 << 40, .blockGroupItem, 1 << 20),
                data: [UInt8](repeating: 0, count: 8) + [0, 1, 0, 0, 0, 0, 0, 0]
                    + [1, 0, 0, 0, 0, 0, 0, 0]
            )
        )
    },
]

private let extentFaults: [PlantedFault] = [
    PlantedFault("tree block counted twice", .reference) {
        try $0.editItem(2, isTree) { $0.data.add(0, 1) }
    },
    PlantedFault("data extent counted twice", .reference) {
        try $0.editItem(2, isData) { $0.data.add(0, 1) }
    },
    PlantedFault("data reference counted twice", .reference) {
        try $0.editItem(2, isData) {
            $0.data.add(0, 1)
            $0.data.add(24 + 25, 1, 4)
        }
    },
    PlantedFault("data reference of another inode", .reference) {
        try $0.editItem(2, isData) { $0.data.add(24 + 9, 1) }
    },
    PlantedFault("data reference of another offset", .reference) {
        try $0.editItem(2, isData) { $0.data.add(24 + 17, 4096) }
    },
    PlantedFault("tree block of another tree", .reference) {
        try $0.editItem(2, isTree) { $0.data.add(25, 1) }
    },
    PlantedFault("tree block not recorded", .extent) { try $0.removeItem(2, isTree) },
    PlantedFault("data extent not recorded", .fileExtent) { try $0.removeItem(2, isData) },
    PlantedFault("tree block generation", .extent) {
        try $0.editItem(2, isTree) { $0.data.add(8, UInt64(bitPattern: -1)) }
    },
    PlantedFault("tree block level", .extent) {
        try $0.editItem(2, isTree) { $0.key = Key($0.key.objectid, $0.key.type, 3) }
    },
    PlantedFault("tree block with full back references", .extent) {
        try $0.editItem(2, isTree) { $0.data.add(16, 0x100) }
    },
    PlantedFault("extent without flags", .extent) {
        try $0.editItem(2, isData) { $0.data.set(16, 0) }
    },
    PlantedFault("extent shorter than its file's", .fileExtent) {
        try $0.editItem(2, { isData($0) && $0.key.offset > 4096 }) {
            $0.key = Key($0.key.objectid, $0.key.type, $0.key.offset - 4096)
        }
    },
    PlantedFault("extent that nobody refers to", .reference) { editor in
        let free = try editor.freeData()
        var data = [UInt8](repeating: 0, count: 53)
        data.set(0, 1)
        data.set(8, editor.superBlock.generation)
        data.set(16, 1)
        data[24] = 178
        data.set(25, 5)
        data.set(33, 257)
        data.set(49, 1, 4)
        try editor.insertItem(
            2,
            Item(key: Key(free, .extentItem, 4096), data: data)
        )
    },
    PlantedFault("item of an unknown type", .extent) {
        try $0.insertItem(2, Item(key: Key(1 << 40, KeyType(rawValue: 99), 0), data: []))
    },
    PlantedFault("block with a bad checksum", .treeBlock) { editor in
        try editor.editBlock(editor.leaves(5)[0], seals: false) { $0[200] ^= 1 }
    },
    PlantedFault("block that was not written", .treeBlock) { editor in
        try editor.editBlock(editor.leaves(5)[0]) { $0[56] &= 0xfe }
    },
    PlantedFault("block of another generation", .treeBlock) { editor in
        try editor.editBlock(editor.leaves(7)[0]) { $0.add(80, UInt64(bitPattern: -1)) }
    },
    PlantedFault("block of another tree", .treeBlock) { editor in
        try editor.editBlock(editor.leaves(7)[0]) { $0.set(88, 4) }
    },
    PlantedFault("keys out of order", .treeBlock) { editor in
        try editor.editBlock(editor.leaves(4)[0]) { block in
            let first = Array(block[101..<118])
            block.replaceSubrange(101..<118, with: block[126..<143])
            block.replaceSubrange(126..<143, with: first)
        }
    },
    PlantedFault("root item level", .treeBlock) {
        try $0.editItem(1, { $0.key.objectid == 7 && $0.key.type == .rootItem }) {
            $0.data[238] = 1
        }
    },
    PlantedFault("root item generation_v2", .tree) {
        try $0.editItem(1, { $0.key.objectid == 7 && $0.key.type == .rootItem }) {
            $0.data.add(239, UInt64(bitPattern: -1))
        }
    },
    PlantedFault("no checksum tree", .tree) {
        try $0.removeItem(1) { $0.key.objectid == 7 && $0.key.type == .rootItem }
    },
    PlantedFault("no data relocation tree", .tree) {
        try $0.removeItem(1) {
            $0.key.objectid == UInt64(bitPattern: -9) && $0.key.type == .rootItem
        }
    },
    PlantedFault("empty relocation tree", .tree) { editor in
        try editor.editLeaf(UInt64(bitPattern: -9)) {
            $0.removeAll(); return true
        }
    },
]

private let spaceFaults: [PlantedFault] = [
    PlantedFault("free space that is in use", .freeSpace) {
        try $0.editItem(10, freeExtent) {
            $0.key = Key($0.key.objectid - 4096, $0.key.type, $0.key.offset + 4096)
        }
    },
    PlantedFault("free space that is lost", .freeSpace) {
        try $0.editItem(10, freeExtent) {
            $0.key = Key($0.key.objectid, $0.key.type, $0.key.offset - 4096)
        }
    },
    PlantedFault("free extent missing", .freeSpace) { try $0.removeItem(10, freeExtent) },
    PlantedFault("free-space info missing", .freeSpace) { try $0.removeItem(10, freeInfo) },
    PlantedFault("free-space info count", .freeSpace) {
        try $0.editItem(10, freeInfo) { $0.data.add(0, 1, 4) }
    },
    PlantedFault("free-space info says bitmaps", .freeSpace) {
        try $0.editItem(10, freeInfo) { $0.data.set(4, 1, 4) }
    },
    PlantedFault("free-space info of a group that is gone", .freeSpace) {
        try $0.insertItem(
            10,
            Item(key: Key(1 << 40, .freeSpaceInfo, 1 << 20), data: [UInt8](repeating: 0, count: 8))
        )
    },
    PlantedFault("free run in two items", .freeSpace) {
        try $0.editLeaf(10) { items in
            guard let index = items.firstIndex(where: freeExtent) else { return false }
            let key = items[index].key
            items[index].key = Key(key.objectid, key.type, 4096)
            items.insert(
                Item(key: Key(key.objectid + 4096, key.type, key.offset - 4096), data: []),
                at: index + 1
            )
            return true
        }
    },
    PlantedFault("checksum missing", .missingChecksum) {
        try $0.editItem(7, { $0.key.type == .extentChecksum }) {
            $0.data.removeLast($0.data.count / 2)
        }
    },
    PlantedFault("checksums of nothing", .checksumTree) { editor in
        let free = try editor.freeData()
        try editor.insertItem(
            7,
            Item(
                key: Key(UInt64(bitPattern: -10), .extentChecksum, free),
                data: [UInt8](repeating: 0, count: editor.superBlock.checksumType.byteCount)
            )
        )
    },
    PlantedFault("checksums that overlap", .checksumTree) { editor in
        let size = editor.superBlock.checksumType.byteCount
        try editor.editLeaf(7) { items in
            guard let index = items.firstIndex(where: { $0.data.count > 2 * size }) else {
                return false
            }
            let key = items[index].key
            items.insert(
                Item(
                    key: Key(key.objectid, key.type, key.offset + 4096),
                    data: [UInt8](repeating: 0, count: size)
                ),
                at: index + 1
            )
            return true
        }
    },
    PlantedFault("data that changed", .data, CheckOptions(verifiesData: true)) { editor in
        let extent = try editor.find(2, isData)
        try editor.editData(extent.key.objectid + 77) { $0 ^= 1 }
    },
]

private let fileFaults: [PlantedFault] = [
    PlantedFault("link count", .linkCount) {
        try $0.editItem(5, isFirstFile) { $0.data.add(40, 1, 4) }
    },
    PlantedFault("no links", .linkCount) {
        try $0.editItem(5, isFirstFile) { $0.data.set(40, 0, 4) }
    },
    PlantedFault("nbytes", .fileSize) { try $0.editItem(5, isFirstFile) { $0.data.add(24, 4096) } },
    PlantedFault("size below the extents", .fileExtent) {
        try $0.editItem(5, { isRegular($0) && $0.data.number(45) >= 4096 }) {
            $0.key = Key($0.key.objectid, $0.key.type, $0.key.offset + (1 << 30))
        }
    },
    PlantedFault("directory size", .directorySize) {
        try $0.editItem(
            5,
            { $0.key.type == .inodeItem && $0.data.number(52, 4) & 0o170000 == 0o040000 }
        ) { $0.data.add(16, 2) }
    },
    PlantedFault("mode of nothing", .inode) {
        try $0.editItem(5, isFirstFile) { $0.data.set(52, 0o644, 4) }
    },
    PlantedFault("inode generation", .inode) {
        try $0.editItem(5, isFirstFile) { $0.data.add(0, 1000) }
    },
    PlantedFault("inode flags", .inode) {
        try $0.editItem(5, isFirstFile) { $0.data.set(64, 1 << 20) }
    },
    PlantedFault("inode without checksums", .missingChecksum) {
        try $0.editItem(5, isFirstFile) { $0.data.set(64, 1) }
    },
    PlantedFault("inode item missing", .inode) { try $0.removeItem(5, isFirstFile) },
    PlantedFault("file extent missing", .reference) { try $0.removeItem(5, isRegular) },
    PlantedFault("file extent offset", .reference) {
        try $0.editItem(5, { isRegular($0) && $0.data.number(45) > 4096 }) {
            $0.data.set(37, 4096)
            $0.data.add(45, UInt64(bitPattern: -4096))
        }
    },
    PlantedFault("file extent length", .fileExtent) {
        try $0.editItem(5, isRegular) { $0.data.add(45, 4096) }
    },
    PlantedFault("file extent unaligned", .fileExtent) {
        try $0.editItem(5, isRegular) { $0.data.add(45, 1) }
    },
    PlantedFault("file extent of a kind unknown", .fileExtent) {
        try $0.editItem(5, isRegular) { $0.data[20] = 3 }
    },
    PlantedFault("file extent encrypted", .fileExtent) {
        try $0.editItem(5, isRegular) { $0.data[17] = 1 }
    },
    PlantedFault("inline extent not at 0", .fileExtent) {
        try $0.editItem(5, { $0.key.type == .extentData && $0.data.count == 27 }) {
            $0.key = Key($0.key.objectid, $0.key.type, 4096)
        }
    },
    PlantedFault("inline extent length", .fileExtent) {
        try $0.editItem(5, { $0.key.type == .extentData && $0.data.count == 27 }) {
            $0.data.add(8, 1)
        }
    },
    PlantedFault("file extents that overlap", .fileExtent) {
        try $0.editLeaf(5) { items in
            guard
                let index = items.firstIndex(where: { isRegular($0) && $0.data.number(45) > 4096 })
            else { return false }
            var copy = items[index]
            copy.key = Key(copy.key.objectid, copy.key.type, 4096)
            items.insert(copy, at: index + 1)
            return true
        }
    },
]

private let nameFaults: [PlantedFault] = [
    PlantedFault("entry by name missing", .name) {
        try $0.removeItem(5) { $0.key.type == .dirItem && $0.key.objectid > 256 }
    },
    PlantedFault("index entry missing", .name) {
        try $0.removeItem(5) { $0.key.type == Special.dirIndex && $0.key.objectid > 256 }
    },
    PlantedFault("inode reference missing", .name) {
        try $0.removeItem(5) { $0.key.type == .inodeRef && $0.key.objectid > 257 }
    },
    PlantedFault("inode reference's index", .name) {
        try $0.editItem(5, { $0.key.type == .inodeRef && $0.key.objectid > 257 }) {
            $0.data.add(0, 1000)
        }
    },
    PlantedFault("name in the reference", .name) {
        try $0.editItem(5, { $0.key.type == .inodeRef && $0.key.objectid > 257 }) {
            $0.data[10] ^= 1
        }
    },
    PlantedFault("name in the index", .name) {
        try $0.editItem(5, { $0.key.type == Special.dirIndex }) { $0.data[30] ^= 1 }
    },
    PlantedFault("root directory's reference", .name) {
        try $0.editItem(5, { $0.key.type == .inodeRef && $0.key.objectid == 256 }) {
            $0.data.set(0, 7)
        }
    },
    PlantedFault("name's hash", .name) {
        try $0.editItem(5, { $0.key.type == .dirItem }) { $0.data[30] ^= 1 }
    },
    PlantedFault("entry's type", .name) {
        try $0.editItem(5, { $0.key.type == Special.dirIndex }) { $0.data[29] = 3 }
    },
    PlantedFault("entry's inode", .name) {
        try $0.editItem(5, { $0.key.type == Special.dirIndex }) { $0.data.add(0, 1000) }
    },
    PlantedFault("no root directory", .tree) {
        try $0.editItem(5, { $0.key == Key(256, .inodeItem, 0) }) { $0.data.set(52, 0o100755, 4) }
    },
]
