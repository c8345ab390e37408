//===-- Filesystem+Data.swift - data by logical address ---------------------------------------------===//
// Claims for data, bytes to every copy of it, and bytes from a copy whose checksum is right.
//
// Locks: none of these may be called with a lock held but a file's.
//===-------------------------------------------------------------------------------------------===//

package import BGAllocation
package import BGDiskFormat

extension Filesystem {
    /// Claims space for data. Commits first where that is what gets space back.
    ///
    /// - Parameters:
    ///   - length: bytes, whole sectors.
    ///   - lengthMin: the least that will do; 0: all or nothing.
    ///   - hint: an address to continue at, where it is free.
    /// - Throws: `.noSpace`, `.readOnly`, or why a group's free space could not be read.
    package func claimData(
        length: UInt64,
        lengthMin: UInt64 = 0,
        hint: UInt64? = nil
    ) throws(FilesystemError) -> ClaimedExtent {
        preconditionFailure("not built yet")
    }

    /// Writes whole sectors to every copy of claimed space, without a look at who claimed it.
    ///
    /// - Returns: the checksums, as `Transaction.setChecksums` takes them.
    package func writeData(
        logical: UInt64,
        _ bytes: RawSpan
    ) throws(FilesystemError) -> [UInt8] {
        preconditionFailure("not built yet")
    }

    /// Fills `buffer` from `logical` on, any bytes of data. What a checksum is recorded of is verified;
    /// a bad copy is repaired from a good one (where the file system is writable) and counted.
    ///
    /// - Throws: `.invalidArgument` where no chunk holds some of the range; `.io` where no copy can
    ///   be read or none is right.
    package func readData(
        logical: UInt64,
        into buffer: inout MutableRawSpan
    ) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// The checksums of a claimed extent about to be recorded: those that `write` remembers, the
    /// rest by reading back. Not to be called inside `change`.
    package func checksums(
        ofClaimed extent: Extent
    ) throws(FilesystemError) -> [UInt8] {
        preconditionFailure("not built yet")
    }

    /// Refuses what cannot be a caller's claim for data: `.invalidArgument` outside of a data group,
    /// unaligned, partly free, or more than is claimed there; `.busy` where a tree records some.
    package func checkClaim(_ extent: Extent) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }
}
