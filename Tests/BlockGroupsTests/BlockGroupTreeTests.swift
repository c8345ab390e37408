// An image with a block-group tree. The mkfs.btrfs of Debian 12 does not make one, so the test
// does: it copies the block group items into a leaf of their own, enters that into the root tree
// and sets the feature's bit. (The new leaf is not accounted for, which no reader notices.)

import BGDevices
import BGDiskFormat
import BGTestSupport
import BGTrees
import Foundation
import Testing

@testable import BlockGroups

/// The items of one leaf, to be changed and written again.
private struct LeafItems {
    var header: [UInt8]
    var items: [(Key, [UInt8])]

    init(_ device: MemoryDevice, _ physical: Int, nodeSize: Int) {
        let bytes = device.bytes(at: physical, nodeSize)
        let block = TreeBlock(logical: 0, bytes: bytes)
        header = Array(bytes[..<101])
        items = (0..<block.itemCount).map { (block.key($0), Array(bytes[block.itemRange($0)])) }
    }

    func write(_ device: MemoryDevice, _ physical: Int, nodeSize: Int) {
        device.replace(
            at: physical,
            with: header + Array(repeating: 0, count: nodeSize - 101)
        )
        device.put(UInt64(items.count), 4, at: physical + 96)
        var end = nodeSize - 101
        for (slot, item) in items.enumerated() {
            end -= item.1.count
            let entry = physical + 101 + slot * 25
            device.put(item.0.objectid, 8, at: entry)
            device[entry + 8] = item.0.type.rawValue
            device.put(item.0.offset, 8, at: entry + 9)
            device.put(UInt64(end), 4, at: entry + 17)
            device.put(UInt64(item.1.count), 4, at: entry + 21)
            let data = physical + 101 + end
            device.replace(at: data, with: item.1)
        }
        device.seal(physical, count: nodeSize, .crc32c)
    }
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct BlockGroupTreeTests {
    private static let nodeSize = 16384

    /// Moves the block groups of an image with one-leaf trees into a block-group tree; `change`
    /// may alter the items.
    private func convert(
        _ device: MemoryDevice,
        _ change: (inout [(Key, [UInt8])]) -> Void = { _ in }
    ) throws -> [BlockGroupRecord] {
        let nodeSize = Self.nodeSize
        let reader = try FilesystemReader(Volume(devices: [device]))
        let superBlock = reader.superBlock
        func physical(_ logical: UInt64) throws -> Int {
            let chunk = try #require(reader.volume.chunkMap.chunk(at: logical))
            return Int(logical - chunk.item.logical + chunk.item.stripes[0].physical)
        }
        // A free place for the new leaf, in a metadata group.
        let metadata = try #require(reader.blockGroups.first { $0.flags.type == .metadata })
        let free = try #require(
            try freeRuns(reader, metadata, .automatic).first {
                $0.length >= nodeSize
            }
        )
        let rootPlace = try physical(superBlock.root)
        var root = LeafItems(device, rootPlace, nodeSize: nodeSize)
        let extentItem = try #require(
            root.items.first { $0.0 == Key(ObjectID.extentTree, .rootItem, 0) }
        )
        let extentRoot = try RootItem(
            key: extentItem.0,
            extentItem.1.span.bytes,
            superBlock.limits
        )

        let extentPlace = try physical(extentRoot.logical)
        var extents = LeafItems(device, extentPlace, nodeSize: nodeSize)
        var groups = extents
        groups.items.removeAll { $0.0.type != .blockGroupItem }
        change(&groups.items)
        extents.items.removeAll { $0.0.type == .blockGroupItem }
        extents.write(device, extentPlace, nodeSize: nodeSize)
        let place = try physical(free.logical)
        groups.write(device, place, nodeSize: nodeSize)
        device.put(free.logical, 8, at: place + 48)
        device.put(ObjectID.blockGroupTree, 8, at: place + 88)
        device.seal(place, count: nodeSize, .crc32c)

        var item = extentItem
        item.0 = Key(ObjectID.blockGroupTree, .rootItem, 0)
        for index in 0..<8 {
            item.1[176 + index] = UInt8(truncatingIfNeeded: free.logical >> UInt64(8 * index))
        }
        root.items.append(item)
        root.items.sort { $0.0 < $1.0 }
        root.write(device, rootPlace, nodeSize: nodeSize)
        device[(64 << 10) + 180] |= 8
        device.seal(64 << 10, count: 4096, .crc32c)
        return reader.blockGroups
    }

    private func image() throws -> MemoryDevice {
        try MemoryDevice(MkfsImage(sizes: [60 << 20], ["-m", "single", "-d", "single"]))
    }

    @Test func blockGroupsAreReadFromTheBlockGroupTree() throws {
        let device = try image()
        let expected = try convert(device)
        let reader = try FilesystemReader(Volume(devices: [device]))
        #expect(reader.superBlock.compatReadOnly.contains(.blockGroupTree))
        #expect(reader.blockGroups == expected)
        for group in reader.blockGroups {
            #expect(
                try freeRuns(reader, group, .freeSpaceTree)
                    == freeRuns(reader, group, .extentTree)
            )
        }
    }

    @Test func aGroupWithoutAChunkIsRefused() throws {
        let device = try image()
        _ = try convert(device) { items in
            var extra = items[items.count - 1]
            extra.0 = Key(1 << 40, .blockGroupItem, extra.0.offset)
            items.append(extra)
        }
        expectRefused(device, "groups, but")
    }

    @Test func aChunkWithoutAGroupIsRefused() throws {
        let device = try image()
        _ = try convert(device) { $0.remove(at: 1) }
        expectRefused(device, "has no block group")
    }

    @Test func aGroupOfAnotherLengthOrTypeThanItsChunkIsRefused() throws {
        let shorter = try image()
        _ = try convert(shorter) { items in
            items[1].0 = Key(items[1].0.objectid, .blockGroupItem, items[1].0.offset - 4096)
        }
        expectRefused(shorter, "are not its chunk's")
        let other = try image()
        _ = try convert(other) { $0[1].1[16] ^= 5 }
        expectRefused(other, "are not its chunk's")
    }

    @Test func aGroupThatUsesMoreThanItHoldsIsRefused() throws {
        let device = try image()
        _ = try convert(device) { $0[1].1[7] = 1 }
        expectRefused(device, "bytes used of")
    }

    @Test func aWrongCountOfUsedBytesIsFoundByBothSources() throws {
        let device = try image()
        _ = try convert(device) { items in
            let used = items[1].1[1]
            items[1].1[1] = used ^ 0x10
        }
        let reader = try FilesystemReader(Volume(devices: [device]))
        #expect(reader.warnings.contains { $0.message.contains("block groups say") })
        for source in [FreeSpaceSource.freeSpaceTree, .extentTree] {
            #expect(throws: FilesystemError.self) {
                _ = try freeRuns(reader, reader.blockGroups[1], source)
            }
        }
    }

    private func expectRefused(_ device: MemoryDevice, _ words: String) {
        do throws(FilesystemError) {
            _ = try FilesystemReader(Volume(devices: [device]))
            Issue.record("opened, instead of: \(words)")
        } catch {
            #expect(error.code == .corrupt)
            #expect(error.message.contains(words), "\(error.message)")
        }
    }
}
