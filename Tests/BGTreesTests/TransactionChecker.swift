// Reads a whole file system from what is on the device, on the read side alone, and compares everything
// that is recorded twice: references against extent items, extent items against free space and bytes
// used, chunks against device extents, super block against groups.

import BGDevices
import BGDiskFormat
import Testing

@testable import BGTrees

/// Blocks of a `Disk` for reading.
final class DiskSource: OneCopySource {
    let disk: Disk
    let geometry: TreeGeometry

    init(_ disk: Disk) throws {
        self.disk = disk
        geometry = TreeGeometry(try disk.parsedSuperBlock())
    }

    func block(_ logical: UInt64) -> [UInt8]? { disk.blocks[logical] }
}

/// An extent with all of its references, inline and keyed.
struct ExtentFacts: Equatable {
    var logical: UInt64
    var length: UInt64
    var level: UInt8?
    var isFull = false
    var references: [BackReference: UInt64] = [:]
}

/// Everything that a file system says of itself.
struct FileSystemFacts {
    var superBlock: SuperBlock
    var chunks: [ChunkItem] = []
    var device: DeviceItem
    var deviceExtents: [DeviceExtent] = []
    var groups: [GroupRecord] = []
    var roots: [Key: RootItem] = [:]
    var extents: [UInt64: ExtentFacts] = [:]
    var keyedReferences = 0
    /// What trees and file extents refer to.
    var expected: [UInt64: ExtentFacts] = [:]
    /// Items of subvolume trees by tree.
    var items: [UInt64: [TreeItem]] = [:]
    var checksums: [UInt64: [UInt8]] = [:]
    var freeRuns: [FreeRun] = []
    var infos: [FreeSpaceInfo] = []
    private let source: DiskSource

    init(_ disk: Disk) throws {
        source = try DiskSource(disk)
        superBlock = try disk.parsedSuperBlock()
        device = superBlock.device
        try readTrees()
    }

    private func walk(_ root: TreeRoot, _ body: (Key, RawSpan) throws -> Void) throws {
        var cursor = TreeCursor(TreeReader(source), root)
        var more = try cursor.seek(.min)
        while more {
            let item = cursor.leaf.itemData(cursor.slot)
            try body(cursor.key, item.span.bytes)
            more = try cursor.next()
        }
    }

    private mutating func readTrees() throws {
        let limits = superBlock.limits
        let rootRoot = TreeRoot(
            treeID: ObjectID.rootTree,
            logical: superBlock.root,
            level: superBlock.rootLevel,
            generation: superBlock.generation
        )
        var found: [Key: RootItem] = [:]
        try walk(rootRoot) { key, data in
            if key.type == .rootItem { found[key] = try RootItem(key: key, data, limits) }
        }
        roots = found
        try readChunks()
        try readExtents()
        try readFreeSpace()
        let sumBytes = superBlock.checksumType.byteCount
        var sums: [UInt64: [UInt8]] = [:]
        try walk(root(ObjectID.checksumTree)) { key, data in
            #expect(key.objectid == ObjectID.extentChecksum && key.type == .extentChecksum)
            #expect(data.byteCount > 0 && data.byteCount <= Int(limits.nodeSize) / 2)
            for index in 0..<data.byteCount / sumBytes {
                let logical = key.offset + UInt64(index) * 4096
                #expect(sums[logical] == nil, "two checksums of \(logical)")
                sums[logical] = data.array(index * sumBytes..<(index + 1) * sumBytes)
            }
        }
        checksums = sums
        try visit(rootRoot)
        try visit(superBlock.chunkTreeRoot)
        for key in roots.keys.sorted() { try visit(place(key)) }
    }

    func place(_ key: Key) throws -> TreeRoot {
        let item = try #require(roots[key])
        return TreeRoot(
            treeID: key.objectid,
            logical: item.logical,
            level: item.level,
            generation: item.generation
        )
    }

    private func root(_ treeID: UInt64) throws -> TreeRoot {
        try place(#require(roots.keys.filter { $0.objectid == treeID }.max()))
    }

    private mutating func readChunks() throws {
        let limits = superBlock.limits
        var chunks: [ChunkItem] = []
        var devices: [DeviceItem] = []
        try walk(superBlock.chunkTreeRoot) { key, data in
            if key.type == .chunkItem { chunks.append(try ChunkItem(key: key, data, limits)) }
            if key.type == .deviceItem { devices.append(try DeviceItem(key: key, data)) }
        }
        self.chunks = chunks
        #expect(devices.count == 1)
        device = try #require(devices.first)
        var extents: [DeviceExtent] = []
        try walk(root(ObjectID.deviceTree)) { key, data in
            extents.append(try DeviceExtent(key: key, data, limits))
        }
        deviceExtents = extents
    }

    private func group(_ key: Key, _ data: RawSpan) throws -> GroupRecord {
        let item = try BlockGroupItem(key: key, data, superBlock.limits)
        return GroupRecord(
            logical: item.logical,
            length: item.length,
            flags: item.flags,
            used: item.used
        )
    }

    private mutating func readExtents() throws {
        let limits = superBlock.limits
        var extents: [UInt64: ExtentFacts] = [:]
        var refs: [UInt64: UInt64] = [:]
        var groups: [GroupRecord] = []
        var keyed = 0
        func add(_ logical: UInt64, _ reference: BackReference, _ count: UInt64) {
            #expect(count > 0)
            let old = extents[logical]?.references.updateValue(count, forKey: reference)
            #expect(old == nil, "a reference of \(logical) is there twice")
        }
        try walk(root(ObjectID.extentTree)) { key, data in
            switch key.type {
            case .extentItem, .metadataItem:
                let record = try ExtentRecord(key: key, data, limits)
                var order: [(UInt8, UInt64)] = []
                extents[key.objectid] = ExtentFacts(
                    logical: record.logical,
                    length: record.length,
                    level: record.level,
                    isFull: record.flags & ExtentItem.flagFullBackref != 0
                )
                refs[key.objectid] = record.refs
                for ref in record.inlineRefs {
                    let reference = try #require(ref.reference)
                    order.append((reference.keyType.rawValue, reference.sequence))
                    add(key.objectid, reference, ref.refCount)
                }
                let isOrdered = zip(order, order.dropFirst()).allSatisfy {
                    $0.0 < $1.0 || $0.0 == $1.0 && $0.1 >= $1.1
                }
                #expect(isOrdered, "inline references of \(key.objectid) out of order")
            case .extentDataRef:
                keyed += 1
                let reference = BackReference.data(
                    root: data.u64(at: 0),
                    inode: data.u64(at: 8),
                    offset: data.u64(at: 16)
                )
                #expect(reference.sequence == key.offset)
                add(key.objectid, reference, UInt64(data.u32(at: 24)))
            case .sharedDataRef:
                keyed += 1
                add(key.objectid, .sharedData(parent: key.offset), UInt64(data.u32(at: 0)))
            case .treeBlockRef:
                keyed += 1
                add(key.objectid, .treeBlock(root: key.offset), 1)
            case .sharedBlockRef:
                keyed += 1
                add(key.objectid, .sharedBlock(parent: key.offset), 1)
            case .blockGroupItem: groups.append(try group(key, data))
            default: Issue.record("item of type \(key.type.rawValue) in the extent tree")
            }
        }
        for (logical, extent) in extents {
            let sum = extent.references.values.reduce(0, +)
            #expect(refs[logical] == sum, "count of \(logical)")
        }
        if superBlock.compatReadOnly.contains(.blockGroupTree) {
            #expect(groups.isEmpty)
            try walk(root(ObjectID.blockGroupTree)) { groups.append(try group($0, $1)) }
        }
        self.extents = extents
        self.groups = groups
        keyedReferences = keyed
    }

    private mutating func readFreeSpace() throws {
        guard superBlock.hasValidFreeSpaceTree else { return }
        let limits = superBlock.limits
        var runs: [FreeRun] = []
        var infos: [FreeSpaceInfo] = []
        func add(_ run: FreeRun) {
            // Runs join across bitmaps, not across groups.
            if let last = runs.last, last.end == run.logical,
                infos.last?.logical != run.logical
            {
                #expect(infos.last?.usesBitmaps == true, "runs touch at \(run.logical)")
                runs[runs.count - 1].length += run.length
            } else {
                runs.append(run)
            }
        }
        try walk(root(ObjectID.freeSpaceTree)) { key, data in
            switch key.type {
            case .freeSpaceInfo: infos.append(try FreeSpaceInfo(key: key, data, limits))
            case .freeSpaceExtent:
                let extent = try FreeSpaceExtent(key: key, data, limits)
                #expect(infos.last?.usesBitmaps == false)
                add(FreeRun(logical: extent.logical, length: extent.length))
            case .freeSpaceBitmap:
                let bitmap = try FreeSpaceBitmap(key: key, data, limits)
                #expect(infos.last?.usesBitmaps == true)
                for sector in 0..<bitmap.sectorCount
                where FreeSpaceBitmap.isFree(data, sector: sector) {
                    add(
                        FreeRun(
                            logical: bitmap.logical + UInt64(sector) * 4096,
                            length: 4096
                        )
                    )
                }
            default: Issue.record("item of type \(key.type.rawValue) in the free-space tree")
            }
        }
        freeRuns = runs
        self.infos = infos
    }

    /// Visits every block once, from a tree's root down, and notes what it refers to.
    private mutating func visit(_ root: TreeRoot) throws {
        let reader = TreeReader(source)
        let block = try reader.block(.root(of: root))
        note(
            block.logical,
            UInt64(source.geometry.nodeSize),
            block.level,
            .treeBlock(root: root.treeID)
        )
        try visitChildren(of: block, root.treeID, reader, leaves: true)
    }

    private mutating func note(
        _ logical: UInt64,
        _ length: UInt64,
        _ level: UInt8?,
        _ reference: BackReference
    ) {
        let isFull = extents[logical]?.isFull ?? false
        expected[
            logical,
            default: ExtentFacts(logical: logical, length: length, level: level, isFull: isFull)
        ].references[reference, default: 0] += 1
    }

    private mutating func visitChildren(
        of block: TreeBlock,
        _ treeID: UInt64,
        _ reader: TreeReader,
        leaves: Bool,
        counted: Bool = true
    ) throws {
        let isFull = extents[block.logical]?.isFull ?? false
        #expect(block.bytes[block.unusedRange].allSatisfy { $0 == 0 })
        #expect(block.chunkTreeUUID == MemoryHost.chunkTreeUUID)
        for slot in 0..<block.itemCount {
            if block.isLeaf {
                guard TreeState.isSubvolume(treeID) else { continue }
                let item = TreeItem(key: block.key(slot), data: block.itemData(slot))
                items[treeID, default: []].append(item)
                guard counted, item.key.type == .extentData, item.data.count == 53 else { continue }
                note(
                    item.data.u64(at: 21),
                    item.data.u64(at: 29),
                    nil,
                    isFull
                        ? .sharedData(parent: block.logical)
                        : .data(
                            root: block.owner,
                            inode: item.key.objectid,
                            offset: item.key.offset &- item.data.u64(at: 37)
                        )
                )
                continue
            }
            let child = block.childLogical(slot)
            let isNew = expected[child] == nil
            if counted {
                note(
                    child,
                    UInt64(source.geometry.nodeSize),
                    block.level - 1,
                    isFull ? .sharedBlock(parent: block.logical) : .treeBlock(root: block.owner)
                )
            }
            let next = try reader.block(
                BlockExpectation(
                    logical: child,
                    level: block.level - 1,
                    generation: block.childGeneration(slot),
                    treeID: treeID,
                    firstKey: block.key(slot),
                    upperBound: slot + 1 < block.itemCount ? block.key(slot + 1) : nil
                )
            )
            try visitChildren(of: next, treeID, reader, leaves: leaves, counted: counted && isNew)
        }
    }
}
