//===-- ManyExtentsTests.swift - dropping very many extents with little metadata left ---------------===//
// What one change drops, the commit must be able to record, however little was left before: a change that
// takes is refused before it changes anything, one that only frees goes in pieces, and the file system
// stays writable in any case. A power failure between two pieces leaves a sound file system.
//
// Not covered: groups that data and metadata share, and trees shared with snapshots (ReserveTests.swift).
//===-------------------------------------------------------------------------------------------===//

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
    private let space: ScarceSpace

    /// - Parameter times: how often the metadata that is left is enough to remove a little.
    init(timesForRemoving times: UInt64) throws {
        device = MemoryDevice(over: try ManyExtents.made.get().device)
        filesystem = try openFilesystem([device], readOnly: false)
        space = try ScarceSpace(filesystem)
        // For what is written over the extents, in one piece.
        let spare = try filesystem.claimData(length: UInt64(ManyExtents.bytes)).commit()
        space.takeData()
        space.takeMetadata()
        try filesystem.allocator.giveBack(spare)
        space.makeRoom(times * (try filesystem.bytesForRemoving))
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
            try #require(
                space.makeRoom(space.freeBytes + (256 << 10)),
                "refused with all the space there is"
            )
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
    @Test func aWriteOverThemIsRefusedOrCommitted() throws {
        let crowded = try Crowded(timesForRemoving: 2)
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
        let crowded = try Crowded(timesForRemoving: 2)
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
        let crowded = try Crowded(timesForRemoving: 1)
        try crowded.filesystem.removeFile("/many")
        try crowded.expectSound()
        expectRefusal(.notFound) { () throws(FilesystemError) in
            _ = try openFilesystem([crowded.device]).metadata(of: "/many")
        }
    }

    @Test func renamingOverThemIsRefusedOrCommitted() throws {
        let crowded = try Crowded(timesForRemoving: 2)
        try crowded.untilThereIsRoom { () throws(FilesystemError) in
            try crowded.filesystem.rename("/between", to: "/many")
        }
        try crowded.expectSound()
        let found = try contents(openFilesystem([crowded.device]), "/many")
        #expect(beginAlike(found, ManyExtents.between))
    }

    @Test func truncatingSucceedsAndIsSoundAfterACrash() throws {
        let crowded = try Crowded(timesForRemoving: 1)
        let begin = try MemoryDevice(over: ManyExtents.made.get().device)
        let recording = Recording([crowded.device])
        let file = try crowded.filesystem.openFile("/many")
        // The last sector is written anew, behind everything that a longer file may still have.
        let size: UInt64 = 8192 + 1000
        try file.truncate(to: size)
        #expect(try file.metadata.size == size)
        #expect(try file.metadata.allocatedBytes == 3 * 4096)
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
            let length = try left.metadata(of: "/many").size
            #expect(length % 4096 == 0 || length == size)
            #expect(beginAlike(try contents(left, "/many"), ManyExtents.many), "\(crash.name)")
            sizes.insert(length)
        }
        #expect(sizes.count > 2, "there was nothing between the first commit and the last")
    }
}
