//===-- Device.swift - one device of a file system, and its super block -----------------------===//
// Finds the newest valid super block among the copies of a device.
//
// Invariants:
//   1. A device in use has a checked super block, and is at least as long as that says.
//   2. A copy whose checksum holds but whose features are unknown ends the search: an older copy
//      that looks usable must not hide it.
//
// Locks: none; all fields but the counter are constant.

package import BGDiskFormat
internal import Synchronization

/// One device that was given and belongs to the file system.
package final class Device: Sendable {
    /// Which of the given devices this is, counted from 0.
    package let index: Int
    package let storage: any BlockDevice
    /// The newest valid copy on this device.
    package let superBlock: SuperBlock
    private let readErrorCount = Atomic<UInt64>(0)

    package var devid: UInt64 { superBlock.device.devid }
    package var uuid: FilesystemUUID { superBlock.device.uuid }
    /// Reads that failed since the device was opened.
    package var readErrors: UInt64 { readErrorCount.load(ordering: .relaxed) }

    package init(index: Int, storage: any BlockDevice, superBlock: SuperBlock) {
        self.index = index
        self.storage = storage
        self.superBlock = superBlock
    }

    /// Reads from the device; a failure is counted and says which device it was.
    package func read(
        physical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        do throws(FilesystemError) {
            try unsafe storage.read(physical: physical, into: buffer)
        } catch {
            readErrorCount.wrappingAdd(1, ordering: .relaxed)
            throw error.located(devid: devid, physical: physical)
        }
    }
}

/// What the copies of the super block on one device came to.
package struct SuperBlockSearch {
    /// The newest valid copy.
    package var newest: SuperBlock?
    /// Why there is none: the primary's error unless another copy says more.
    package var failure: FilesystemError?
    /// Damaged copies beside a valid one.
    package var warnings: [FilesystemError] = []

    /// Reads every copy that the device is long enough for.
    package init(_ storage: any BlockDevice, index: Int) throws(FilesystemError) {
        var primary: SuperBlock?
        var damaged: [FilesystemError] = []
        for copy in 0..<SuperBlock.copyCount {
            let physical = SuperBlock.physical(ofCopy: copy)
            guard physical + UInt64(SuperBlock.byteCount) <= storage.byteCount else { break }
            do throws(FilesystemError) {
                let found = try SuperBlockSearch.readCopy(storage, physical: physical)
                if copy == 0 { primary = found }
                // A copy of another file system is left over from an earlier one.
                if let primary, primary.fsid != found.fsid { continue }
                if let best = newest, best.generation >= found.generation { continue }
                newest = found
            } catch {
                if error.code == .unsupported { throw error.located(deviceIndex: index) }
                damaged.append(error.located(deviceIndex: index, physical: physical))
            }
        }
        if newest != nil {
            warnings = damaged
        } else {
            failure = SuperBlockSearch.mostTelling(damaged, index: index)
        }
    }

    private static func readCopy(
        _ storage: any BlockDevice,
        physical: UInt64
    ) throws(FilesystemError) -> SuperBlock {
        var bytes = [UInt8](repeating: 0, count: SuperBlock.byteCount)
        try readWhole(&bytes, from: storage, physical: physical)
        return try unsafe SuperBlock(bytes.span.bytes, physical: physical)
    }

    /// Damage says more than a missing signature, which every device has that is not btrfs.
    private static func mostTelling(_ errors: [FilesystemError], index: Int) -> FilesystemError {
        for error in errors where error.code != .invalidArgument { return error }
        return FilesystemError(
            .invalidArgument,
            "device",
            "no btrfs file system on it",
            deviceIndex: index
        )
    }
}

/// Fills an array from a device.
package func readWhole(
    _ bytes: inout [UInt8],
    from storage: any BlockDevice,
    physical: UInt64
) throws(FilesystemError) {
    var failure: FilesystemError?
    unsafe bytes.withUnsafeMutableBytes { buffer in
        do throws(FilesystemError) {
            try unsafe storage.read(physical: physical, into: buffer)
        } catch {
            failure = error
        }
    }
    if let failure { throw failure }
}
