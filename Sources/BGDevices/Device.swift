//===-- Device.swift - one device of a file system, and its super block -----------------------===//
// Finds the newest valid super block among the copies of a device.
//
// Invariants:
//   1. A device in use has a checked super block, and is at least as long as that says.
//   2. A copy whose checksum holds but whose features are unknown ends the search: an older copy
//      that looks usable must not hide it.
//
//   3. A device whose flush failed once fails every later one: the kernel reports a lost write once,
//      and a second flush would call durable what is gone.
//
// Locks: none; all fields but the counters are constant.

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
    private let writeErrorCount = Atomic<UInt64>(0)
    /// Writes that returned.
    private let writtenCount = Atomic<UInt64>(0)
    /// What `writtenCount` was before a flush that succeeded: those writes are durable.
    private let flushedCount = Atomic<UInt64>(0)
    private let hasLostWrites = Atomic<Bool>(false)

    package var devid: UInt64 { superBlock.device.devid }
    package var uuid: FilesystemUUID { superBlock.device.uuid }
    /// Reads that failed since the device was opened.
    package var readErrors: UInt64 { readErrorCount.load(ordering: .relaxed) }

    /// Writes and flushes that failed since the device was opened.
    package var writeErrors: UInt64 { writeErrorCount.load(ordering: .relaxed) }

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

    /// Writes to the device; a failure is counted and says which device it was.
    package func write(
        physical: UInt64,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        // Also a write that fails may have left bytes that are not durable.
        defer { writtenCount.wrappingAdd(1, ordering: .releasing) }
        do throws(FilesystemError) {
            try unsafe storage.write(physical: physical, from: buffer)
        } catch {
            writeErrorCount.wrappingAdd(1, ordering: .relaxed)
            throw error.located(devid: devid, physical: physical)
        }
    }

    /// Waits until every write that returned before is durable; asks nothing of the device where
    /// nothing was written since the last time.
    package func flush() throws(FilesystemError) {
        let written = writtenCount.load(ordering: .acquiring)
        do throws(FilesystemError) {
            if hasLostWrites.load(ordering: .acquiring) {
                throw FilesystemError(.io, "device", "lost writes when it was flushed before")
            }
            if flushedCount.load(ordering: .acquiring) >= written { return }
            try storage.flush()
        } catch {
            hasLostWrites.store(true, ordering: .releasing)
            writeErrorCount.wrappingAdd(1, ordering: .relaxed)
            throw error.located(devid: devid)
        }
        // Another thread's flush may have got further meanwhile: never backwards.
        _ = flushedCount.max(written, ordering: .releasing)
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
        if let newest {
            // The file system may be shorter than its device: then there are fewer copies.
            let length = newest.device.totalBytes
            warnings = damaged.filter { ($0.physical ?? 0) < length }
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
