//===-- ManyExtentsTests.swift - dropping very many extents with little metadata left ---------------===//
// What one change drops, the commit must be able to record, however little was left before: a change that
// takes is refused before it changes anything, one that only frees goes in pieces, and the file system
// stays writable in any case. A power failure between two pieces leaves a sound file system.
//
// The space is taken by claims in memory, so that how much is left is known to a block.
//
// Not covered: groups that data and metadata share; trees shared with snapshots.
//===-------------------------------------------------------------------------------------------===//

import BGAllocation
import BGDiskFormat
import BGTestSupport
import Testing

@testable import BlockGroups

/// Two files whose extents, a sector each, lie in turn.
private final class ManyExtents: Sendable {
    static let pieces = 12_000
    static let bytes = pieces * 4096
    static let made = Result { try ManyExtents() }
    static let many = [UInt8](repeating: 1, count: bytes)
    static let between = [UInt8](repeating: 2, count: bytes)

    let device: MemoryDevice

    private init() throws {
        device = MemoryDevice(byteCount: 512 << 20)
        var options = FormatOptions()
        options.nodeSize = 4096
        options.metadataProfile = .single
        try Filesystem.format(devices: [device], options)
        let filesystem = try openFilesystem([device], readOnly: false)
        let files = try ["/many", "/between"].map { try filesystem.createFile(FilePath($0)) }
        let perChange = 500
        var bytes: [UInt8] = []
        for _ in 0..<perChange { bytes += Self.many[..<4096] + Self.between[..<4096] }
        for first in stride(from: 0, to: Self.pieces, by: perChange) {
            let extent = try filesystem.claimData(length: UInt64(2 * perChange * 4096)).commit()
            let sums = try filesystem.writeData(logical: extent.logical, bytes.span.bytes)
            try filesystem.changeFiles(itemBytes: UInt64(perChange) << 8) {
                (_) throws(FilesystemError) in
            } apply: { (change, _: Void) throws(FilesystemError) in
                for index in 0..<2 * perChange {
                    let sector = UInt64(index) * 4096
                    let sum = Array(sums[index * 4..<index * 4 + 4])
                    let written = WrittenExtent(
                        extent: Extent(logical: extent.logical + sector, length: 4096),
                        start: UInt64(first + index / 2) * 4096,
                        checksums: sum
                    )
                    _ = try change.insertExtent(written, of: files[index % 2].inodeNumber)
                }
                for file in files {
                    try change.updateInode(file.inodeNumber) {
                        $0.size = UInt64(first + perChange) * 4096
                        $0.byteCount = $0.size
                    }
                }
            }
        }
        for file in files { try file.close() }
        try filesystem.close()
    }
}

/// The file system with changes of its own, and nearly all space taken.
private final class Crowded {
    let device: MemoryDevice
    let filesystem: Filesystem
    /// Claims that take up metadata.
    private var held: [Extent] = []

    /// - Parameter left: bytes of metadata that are free.
    init(left: UInt64) throws {
        device = MemoryDevice(over: try ManyExtents.made.get().device)
        filesystem = try openFilesystem([device], readOnly: false)
        try filesystem.cacheFreeSpace()
        // For what is written over the extents, in one piece.
        let spare = try filesystem.claimData(length: UInt64(ManyExtents.bytes)).commit()
        _ = take(64 << 20, .data)
        held = take(1 << 20, .metadata)
        try filesystem.allocator.giveBack(spare)
        makeRoom(left)
    }

    /// Claims all there is, and has no chunk made that it does not take.
    private func take(_ length: UInt64, _ flags: BlockGroupFlags) -> [Extent] {
        var taken: [Extent] = []
        var length = length
        while length >= 4096 {
            do throws(AllocationError) {
                let request = ClaimRequest(length: length, flags: flags)
                taken.append(try filesystem.allocator.claim(request).commit())
            } catch {
                length /= 2
            }
        }
        return taken
    }

    var freeBytes: UInt64 { filesystem.source.freeMetadataBytes(in: filesystem.allocator) }

    /// Frees metadata until so much is left; false: no more is to be had.
    @discardableResult
    func makeRoom(_ bytes: UInt64) -> Bool {
        while freeBytes < bytes {
            guard let extent = held.popLast() else { return false }
            try? filesystem.allocator.giveBack(extent)
        }
        return true
    }

    /// Tries a change until it succeeds, with a little more metadata after each refusal; a refusal must leave
    /// all as it was.
    ///
    /// - Returns: how often it was refused.
    @discardableResult
    func untilThereIsRoom(_ change: () throws(FilesystemError) -> Void) throws -> Int {
        var refusals = 0
        while true {
            do throws(FilesystemError) {
                try change()
                // What it dropped is recorded with what is left.
                try filesystem.commit()
                return refusals
            } catch {
                try #require(error.code == .noSpace, "\(error.message)")
                try #require(filesystem.failure == nil)
                if refusals == 0 {
                    try filesystem.commit()
                    #expect(beginAlike(try contents(filesystem, "/many"), ManyExtents.many))
                }
                refusals += 1
            }
            try #require(makeRoom(freeBytes + (256 << 10)), "refused with all the space there is")
        }
    }

    /// What is there is durable and sound.
    func expectSound() throws {
        #expect(filesystem.failure == nil)
        try filesystem.close()
        #expect(try faults([device]) == [])
    }
}

private func contents(_ filesystem: Filesystem, _ path: FilePath) throws -> [UInt8] {
    let file = try filesystem.openFile(path)
    defer { try? file.close() }
    return try file.contents()
}

@Suite struct ManyExtentsTests {
    /// Metadata that is left: what ordinary changes leave, and what freeing ones do, and little more.
    private static let left: UInt64 = 1100 << 10
    private static let leastLeft: UInt64 = 560 << 10

    @Test func aWriteOverThemIsRefusedOrCommitted() throws {
        let crowded = try Crowded(left: Self.left)
        let file = try crowded.filesystem.openFile("/many")
        let bytes = [UInt8](repeating: 6, count: ManyExtents.bytes)
        let refusals = try crowded.untilThereIsRoom { () throws(FilesystemError) in
            try file.write(at: 0, bytes)
        }
        #expect(refusals > 0, "there was room from the beginning")
        try file.close()
        try crowded.expectSound()
        #expect(beginAlike(try contents(openFilesystem([crowded.device]), "/many"), bytes))
    }

    @Test func anExtentAttachedOverThemIsRefusedOrCommitted() throws {
        let crowded = try Crowded(left: Self.left)
        let filesystem = crowded.filesystem
        let file = try filesystem.openFile("/many")
        let bytes = [UInt8](repeating: 7, count: ManyExtents.bytes)
        let extent = try filesystem.claimData(length: UInt64(bytes.count)).commit()
        try filesystem.write(extent.logical, bytes)
        let refusals = try crowded.untilThereIsRoom { () throws(FilesystemError) in
            try file.attach(extent, at: 0)
        }
        #expect(refusals > 0, "there was room from the beginning")
        try file.close()
        try crowded.expectSound()
        #expect(beginAlike(try contents(openFilesystem([crowded.device]), "/many"), bytes))
    }

    @Test func removingThemAllSucceeds() throws {
        let crowded = try Crowded(left: Self.leastLeft)
        try crowded.filesystem.removeFile("/many")
        try crowded.expectSound()
        expectRefusal(.notFound) { () throws(FilesystemError) in
            _ = try openFilesystem([crowded.device]).metadata(of: "/many")
        }
    }

    @Test func renamingOverThemIsRefusedOrCommitted() throws {
        let crowded = try Crowded(left: Self.left)
        try crowded.untilThereIsRoom { () throws(FilesystemError) in
            try crowded.filesystem.rename("/between", to: "/many")
        }
        try crowded.expectSound()
        let found = try contents(openFilesystem([crowded.device]), "/many")
        #expect(beginAlike(found, ManyExtents.between))
    }

    @Test func truncatingSucceedsAndIsSoundAfterACrash() throws {
        let crowded = try Crowded(left: Self.leastLeft)
        let begin = try MemoryDevice(over: ManyExtents.made.get().device)
        let recording = Recording([crowded.device])
        let file = try crowded.filesystem.openFile("/many")
        try file.truncate(to: 0)
        #expect(try file.metadata.size == 0)
        #expect(try file.metadata.allocatedBytes == 0)
        try file.close()
        try crowded.expectSound()
        recording.stop()
        var crashes = CrashPoints(recording, from: [begin], seed: 1)
        crashes.partsPerFlush = 0
        var sizes: Set<UInt64> = []
        let step = max(1, crashes.flushCount * 2 / 4)
        var number = 0
        try crashes.forEach { crash in
            number += 1
            guard number % step == 0 else { return }
            #expect(try faults(crash.devices) == [], "\(crash.name)")
            let left = try openFilesystem(crash.devices)
            let size = try left.metadata(of: "/many").size
            #expect(size % 4096 == 0)
            #expect(beginAlike(try contents(left, "/many"), ManyExtents.many), "\(crash.name)")
            sizes.insert(size)
        }
        #expect(sizes.count > 2, "there was nothing between the first commit and the last")
    }
}
