// A file system's surroundings in memory, for transactions: one device as a map of blocks, chunks that
// lie on it one behind the other, an allocator that knows the state of every sector and records an
// issue when one is claimed, owned or freed out of turn, and faults at any write.

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BGTrees

extension SeededGenerator {
    mutating func below(_ count: Int) -> Int { Int(next() % UInt64(count)) }
}

/// What is on the device: what survives a crash, and what may.
struct Disk {
    var nodeSize: Int
    /// Blocks by logical address.
    var blocks: [UInt64: [UInt8]] = [:]
    /// Written since the last flush, in order.
    var inFlight: [(logical: UInt64, bytes: [UInt8])] = []
    var superBlock: [UInt8]?

    func block(_ logical: UInt64) -> [UInt8]? {
        inFlight.last { $0.logical == logical }?.bytes ?? blocks[logical]
    }

    mutating func flush() {
        for write in inFlight { blocks[write.logical] = write.bytes }
        inFlight = []
    }

    /// After a crash: of what was in flight, those that `survives` says are there.
    func crashed(_ survives: (Int) -> Bool) -> Disk {
        var disk = self
        disk.inFlight = []
        for (index, write) in inFlight.enumerated() where survives(index) {
            disk.blocks[write.logical] = write.bytes
        }
        return disk
    }

    func parsedSuperBlock() throws -> SuperBlock {
        let bytes = try #require(superBlock)
        return try SuperBlock(bytes.span.bytes, physical: SuperBlock.physical(ofCopy: 0))
    }
}

final class MemoryHost: TransactionHost, OneCopySource, @unchecked Sendable {
    enum Sector: UInt8 { case free, claimed, owned }

    struct Group {
        var record: GroupRecord
        var sectors: [Sector]
        var isPrepared: Bool
    }

    static let chunkTreeUUID = FilesystemUUID(high: 7, low: 9)
    static let deviceBytes: UInt64 = 1 << 32

    private let lock = NSRecursiveLock()
    private(set) var disk: Disk
    private(set) var groups: [Group] = []
    private var changes: [ChunkChange] = []
    private var device: DeviceItem
    private var systems: [ChunkItem] = []
    private var chunks: [ChunkItem] = []
    private var superBlock: SuperBlock
    private var nextChunk: UInt64 = 1 << 20
    /// What the next claims of tree blocks get, whoever has it: as where the free-space tree is wrong.
    var claimsNext: [UInt64] = []
    /// Where the next block is looked for; a random place each time where there is a generator.
    var scatter: SeededGenerator?
    /// Writes, flushes and super blocks until one fails; nil: none does.
    var stepsToFault: Int?
    var steps = 0
    /// Called before each step of a commit, without the lock.
    var onStep: (@Sendable () -> Void)?
    private(set) var commits = 0
    private var hasFailed = false
    /// From the super block of a commit until the next one is begun: only then do ranges come back
    /// that a commit had.
    private var mayUnpin = false
    /// Ranges that the commit that is being made owned first.
    private var ownedNow: Set<UInt64> = []
    let sectorBytes: UInt64 = 4096

    // MARK: making

    /// A device without a file system, and chunks for one.
    init(formatting superBlock: SuperBlock, metadataBytes: UInt64, dataBytes: UInt64) {
        self.superBlock = superBlock
        disk = Disk(nodeSize: Int(superBlock.nodeSize))
        device = superBlock.device
        addChunk(.system, 1 << 20)
        addChunk(.metadata, metadataBytes)
        if dataBytes > 0 { addChunk(.data, dataBytes) }
    }

    /// A device with a file system; its trees say what is in use.
    init(opening disk: Disk) throws {
        self.disk = disk
        superBlock = try disk.parsedSuperBlock()
        device = superBlock.device
        let facts = try FileSystemFacts(disk)
        chunks = facts.chunks
        device = facts.device
        systems = chunks.filter { $0.flags.contains(.system) }
        nextChunk = (chunks.map { $0.end }.max() ?? 0) + (1 << 20)
        for record in facts.groups {
            var group = Group(
                record: record,
                sectors: Array(repeating: .free, count: Int(record.length / sectorBytes)),
                isPrepared: false
            )
            for extent in facts.extents.values where extent.logical >= record.logical {
                guard extent.logical < record.end else { continue }
                let first = Int((extent.logical - record.logical) / sectorBytes)
                for index in first..<first + Int(extent.length / sectorBytes) {
                    group.sectors[index] = .owned
                }
            }
            groups.append(group)
        }
    }

    var groupRecords: [GroupRecord] { groups.map { $0.record } }

    @discardableResult
    func addChunk(_ type: ChunkFlags, _ length: UInt64) -> ChunkItem {
        lock.lock()
        defer { lock.unlock() }
        let chunk = ChunkItem(
            logical: nextChunk,
            length: length,
            flags: type,
            profile: .single,
            sectorSize: 4096,
            stripes: [ChunkStripe(devid: 1, physical: nextChunk, deviceUUID: device.uuid)]
        )
        nextChunk += length
        chunks.append(chunk)
        if type.contains(.system) { systems.append(chunk) }
        device.bytesUsed += length
        changes.append(.added(chunk, [extent(of: chunk)]))
        groups.append(
            Group(
                record: GroupRecord(
                    logical: chunk.logical,
                    length: length,
                    flags: type,
                    used: 0
                ),
                sectors: Array(repeating: .free, count: Int(length / sectorBytes)),
                isPrepared: true
            )
        )
        return chunk
    }

    private func extent(of chunk: ChunkItem) -> DeviceExtent {
        DeviceExtent(
            devid: 1,
            physical: chunk.stripes[0].physical,
            length: chunk.length,
            chunkLogical: chunk.logical,
            chunkTreeUUID: Self.chunkTreeUUID
        )
    }

    /// Removes a group that is wholly free. - Returns: whether there was one.
    func removeEmptyChunk(_ type: ChunkFlags) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard
            let index = groups.firstIndex(where: {
                $0.record.flags == type && $0.sectors.allSatisfy { $0 == .free }
            }),
            let chunk = chunks.firstIndex(where: { $0.logical == groups[index].record.logical })
        else { return false }
        changes.append(.removed(chunks[chunk], [extent(of: chunks[chunk])]))
        device.bytesUsed -= chunks[chunk].length
        chunks.remove(at: chunk)
        groups.remove(at: index)
        return true
    }

    // MARK: space

    func claimTreeBlock(
        _ type: ChunkFlags,
        hint: UInt64
    ) throws(FilesystemError) -> UInt64 {
        lock.lock()
        defer { lock.unlock() }
        if !claimsNext.isEmpty { return claimsNext.removeFirst() }
        return try claimLocked(type, UInt64(disk.nodeSize), hint: hint)
    }

    func claimData(_ length: UInt64) throws(FilesystemError) -> UInt64 {
        lock.lock()
        defer { lock.unlock() }
        return try claimLocked(.data, length, hint: 0)
    }

    /// Claims a range that is known to be free.
    func claimExactly(_ logical: UInt64, _ length: UInt64) {
        move(logical, length, from: .free, to: .claimed)
    }

    private func claimLocked(
        _ type: ChunkFlags,
        _ length: UInt64,
        hint: UInt64
    ) throws(FilesystemError) -> UInt64 {
        let wanted = Int(length / sectorBytes)
        for index in groups.indices where groups[index].record.flags.contains(type) {
            let record = groups[index].record
            let places = groups[index].sectors.count / wanted
            guard places > 0 else { continue }
            var start = 0
            if hint >= record.logical, hint < record.end {
                start = Int((hint - record.logical) / length)
            }
            if scatter != nil { start = scatter!.below(places) }
            for offset in 0..<places {
                let place = (start + offset) % places * wanted
                guard groups[index].sectors[place..<place + wanted].allSatisfy({ $0 == .free })
                else { continue }
                groups[index].isPrepared = true
                for sector in place..<place + wanted { groups[index].sectors[sector] = .claimed }
                return record.logical + UInt64(place) * sectorBytes
            }
        }
        throw FilesystemError(.noSpace, "memory", "no room for % bytes", length)
    }

    private func move(_ logical: UInt64, _ length: UInt64, from old: Sector, to new: Sector) {
        lock.lock()
        defer { lock.unlock() }
        guard
            let index = groups.firstIndex(where: {
                $0.record.logical <= logical && logical + length <= $0.record.end
            })
        else {
            Issue.record("\(logical) lies in no group")
            return
        }
        if new == .claimed { groups[index].isPrepared = true }
        #expect(new == .owned || groups[index].isPrepared, "\(logical) freed without notice")
        let first = Int((logical - groups[index].record.logical) / sectorBytes)
        for sector in first..<first + Int(length / sectorBytes) {
            if groups[index].sectors[sector] != old {
                Issue.record("\(logical) is \(groups[index].sectors[sector]), not \(old)")
                return
            }
            groups[index].sectors[sector] = new
        }
    }

    func own(logical: UInt64, length: UInt64) {
        move(logical, length, from: .claimed, to: .owned)
        _ = lock.withLock { ownedNow.insert(logical) }
    }

    func giveBack(logical: UInt64, length: UInt64) {
        move(logical, length, from: .claimed, to: .free)
    }

    func unpin(logical: UInt64, length: UInt64) {
        let isAllowed = lock.withLock { mayUnpin || ownedNow.contains(logical) }
        #expect(isAllowed, "\(logical) is free while the last commit has it")
        move(logical, length, from: .owned, to: .free)
    }

    func prepareToFree(logical: UInt64, length: UInt64) throws(FilesystemError) {
        lock.lock()
        defer { lock.unlock() }
        for index in groups.indices
        where groups[index].record.logical <= logical && logical < groups[index].record.end {
            groups[index].isPrepared = true
        }
    }

    /// Bytes in each state.
    func bytes(_ state: Sector) -> UInt64 {
        lock.lock()
        defer { lock.unlock() }
        return groups.reduce(0) { sum, group in
            sum + UInt64(group.sectors.filter { $0 == state }.count) * sectorBytes
        }
    }

    // MARK: chunks

    func takeChunkChanges() -> [ChunkChange] {
        lock.lock()
        defer { lock.unlock() }
        mayUnpin = false
        defer { changes = [] }
        return changes
    }

    var deviceItems: [DeviceItem] { lock.withLock { [device] } }
    var systemChunks: [ChunkItem] { lock.withLock { systems } }

    // MARK: durability

    private func step() throws(FilesystemError) {
        onStep?()
        lock.lock()
        defer { lock.unlock() }
        steps += 1
        guard let left = stepsToFault else { return }
        if left == 0 { throw FilesystemError(.io, "memory", "step % fails", UInt64(steps)) }
        stepsToFault = left - 1
    }

    func write(logical: UInt64, _ bytes: RawSpan) throws(FilesystemError) {
        try step()
        lock.lock()
        defer { lock.unlock() }
        precondition(bytes.byteCount % disk.nodeSize == 0)
        for start in stride(from: 0, to: bytes.byteCount, by: disk.nodeSize) {
            disk.inFlight.append(
                (logical + UInt64(start), bytes.array(start..<start + disk.nodeSize))
            )
        }
    }

    func flush() throws(FilesystemError) {
        try step()
        lock.withLock { disk.flush() }
    }

    func writeSuperBlocks(
        _ superBlock: SuperBlock,
        devices: [DeviceItem]
    ) throws(FilesystemError) {
        try step()
        lock.lock()
        defer { lock.unlock() }
        #expect(disk.inFlight.isEmpty, "the blocks are durable before the super block")
        disk.superBlock = superBlock.encoded(forCopy: 0, device: devices[0])
        disk.flush()
    }

    func didFail() { lock.withLock { hasFailed = true } }

    func didCommit(_ superBlock: SuperBlock, removed: [ChunkItem]) {
        lock.lock()
        defer { lock.unlock() }
        #expect(!hasFailed, "a commit after a failure")
        self.superBlock = superBlock
        commits += 1
        mayUnpin = true
        ownedNow = []
    }

    // MARK: reading

    var geometry: TreeGeometry { lock.withLock { TreeGeometry(superBlock) } }

    func block(_ logical: UInt64) -> [UInt8]? { lock.withLock { disk.block(logical) } }
}

/// Blocks that are there once and cannot go bad.
protocol OneCopySource: TreeBlockSource {
    func block(_ logical: UInt64) -> [UInt8]?
}

extension OneCopySource {
    func mirrorCount(logical: UInt64) throws(FilesystemError) -> Int { 1 }

    func readBlock(
        logical: UInt64,
        mirror: Int,
        into bytes: inout [UInt8]
    ) throws(FilesystemError) {
        guard let block = block(logical) else {
            throw FilesystemError(.io, "memory", "nothing there", logical: logical)
        }
        bytes = block
    }

    func noteCorrectedBlock(logical: UInt64, badMirrors: Int) {}
}
