//===-- Filesystem+State.swift - what a file system is, and has met ---------------------------------===//
// Facts for callers: sizes, groups and what they hold, counters of what was put right.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
public import BGDiskFormat
import BGTrees

extension Filesystem {
    /// What reading and writing have met since the file system was opened.
    public struct Statistics: Equatable, Sendable {
        /// Reads that one copy failed, or failed its checksum, and another served.
        public var correctedReads: UInt64
        /// Sectors of data whose checksum was wrong on a copy.
        public var checksumMismatches: UInt64
        /// Copies, of data sectors and tree blocks, that were bad and were written anew.
        public var repairedCopies: UInt64
        /// Reads of devices that failed.
        public var readErrors: UInt64
        /// Writes and flushes of devices that failed.
        public var writeErrors: UInt64
    }

    /// The counters of this moment.
    public var statistics: Statistics {
        let volume = reader.volume.statistics
        return Statistics(
            correctedReads: volume.correctedReads + reader.correctedBlocks,
            checksumMismatches: host.sums.mismatches,
            repairedCopies: host.sums.repairedCopies,
            readErrors: volume.readErrors.reduce(0) { $0 + $1.count },
            writeErrors: volume.writeErrors.reduce(0) { $0 + $1.count }
        )
    }

    /// The last commit's super block.
    package var superBlock: SuperBlock { source.superBlock }

    /// Smallest unit of space, bytes.
    public var sectorSize: UInt64 { UInt64(reader.superBlock.sectorSize) }

    /// Why the file system turned read-only since it was opened; nil: it has not.
    public var failure: FilesystemError? {
        guard isWritable else { return nil }
        if let damage = host.damage { return damage }
        do throws(FilesystemError) { return try trees().failure } catch { return error }
    }

    /// Bytes that extents hold in the group that begins at `logical`: what is neither free nor
    /// claimed. What a transaction freed counts until its commit. nil: no group.
    public func usedBytes(ofGroupAt logical: UInt64) -> UInt64? {
        guard let record = source.record(ofGroupAt: logical) else { return nil }
        guard let group = allocator.group(at: logical) else { return record.used }
        let statistics = group.statistics
        guard statistics.isCached else { return record.used }
        let unused = statistics.freeBytes + statistics.claimedBytes + group.superBytes
        return group.length - min(group.length, unused)
    }
}
