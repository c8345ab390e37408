//===-- BlockDevice.swift - bytes at offsets: files and block devices -------------------------===//
// What the layers above need of a device, and the one implementation on system calls.
//
// Invariants:
//   1. A transfer is whole or fails; a short one never looks like success.
//   2. An errno becomes an error code in `FilesystemError.Code(systemError:)` and nowhere else.
//
// Locks: none. Any thread may read and write at any time; each call states its own offset.

package import BGDiskFormat
internal import CShim
internal import Synchronization

/// A device or image file.
package protocol BlockDevice: AnyObject, Sendable {
    /// Bytes that can be read.
    var byteCount: UInt64 { get }

    /// Fills `buffer` from `physical` on; its content is undefined after an error.
    func read(
        physical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError)

    /// Writes all of `buffer` at `physical`; any part may be written after an error.
    func write(physical: UInt64, from buffer: UnsafeRawBufferPointer) throws(FilesystemError)

    /// Waits until everything written before is durable.
    func flush() throws(FilesystemError)
}

extension BlockDevice {
    /// Throws `.io` unless `length` bytes at `physical` lie on the device.
    package func checkRange(physical: UInt64, length: Int) throws(FilesystemError) {
        guard let end = physical.end(adding: UInt64(length)), end <= byteCount else {
            throw FilesystemError(
                .io,
                "device",
                "% bytes pass its end at %",
                UInt64(length),
                byteCount,
                physical: physical
            )
        }
    }
}

extension FilesystemError.Code {
    /// The code of a negative errno from the shim.
    package init(systemError: CInt) {
        switch -systemError {
        case 2: self = .notFound
        // EIO, and the shim's ENODATA for a file that ends too early.
        case 5, 61: self = .io
        case 6: self = .missingDevice
        case 12: self = .noMemory
        case 16: self = .busy
        case 17: self = .exists
        case 22: self = .invalidArgument
        case 28: self = .noSpace
        case 30: self = .readOnly
        default: self = .system(-systemError)
        }
    }
}

/// A regular file or block device, opened by path.
///
/// One that is opened for writing is nobody else's until it is let go: not mounted, not under a loop
/// device, not open for writing a second time, by this library or any program that asks for the lock.
package final class FileDevice: BlockDevice {
    /// Writes of this length go past the page cache where that can be, and are sent on to the device
    /// at once where not: they are parts of long streams, which nobody reads or writes again soon.
    private static let streamBytesMin = 1 << 20

    private let descriptor: CInt
    /// The same file for writing past the page cache; negative: not for writing, or there is no such
    /// way.
    private let direct: CInt
    private let size: Atomic<UInt64>

    package var byteCount: UInt64 { size.load(ordering: .relaxed) }

    /// Whether its length is given by hardware, or whatever stands behind it.
    package var isBlockDevice: Bool { bgs_device_is_block(descriptor) == 1 }

    /// Opens the file with this null-terminated path.
    ///
    /// Throws `.busy` for writing what is in use.
    package init(path: UnsafePointer<CChar>, writable: Bool) throws(FilesystemError) {
        var use = BGS_DEVICE_UNUSED
        let opened =
            unsafe writable ? bgs_device_open_exclusive(path, &use) : bgs_open(path, 0)
        guard opened >= 0 else {
            let code = FilesystemError.Code(systemError: opened)
            throw FilesystemError(code, "device", FileDevice.words(code, use))
        }
        var bytes: UInt64 = 0
        let failed = unsafe bgs_file_size(opened, &bytes)
        guard failed == 0 else {
            bgs_close(opened)
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "device",
                "neither a file nor a block device"
            )
        }
        descriptor = opened
        direct = writable ? bgs_device_open_direct(opened) : -1
        size = Atomic(bytes)
    }

    /// Makes an image file of zeros with this null-terminated path; it takes no room on its disk
    /// until it is written.
    ///
    /// Throws `.exists` where something is there already.
    package init(
        creating path: UnsafePointer<CChar>,
        byteCount: UInt64
    ) throws(FilesystemError) {
        let opened = unsafe bgs_device_create(path)
        guard opened >= 0 else {
            throw FilesystemError(
                FilesystemError.Code(systemError: opened),
                "device",
                "cannot be made"
            )
        }
        let failed = bgs_device_resize(opened, byteCount)
        guard failed == 0 else {
            bgs_close(opened)
            _ = unsafe bgs_device_remove(path)
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "device",
                "cannot be made % bytes long",
                byteCount
            )
        }
        descriptor = opened
        direct = bgs_device_open_direct(opened)
        size = Atomic(byteCount)
    }

    private static func words(
        _ code: FilesystemError.Code,
        _ use: bgs_device_use
    ) -> StaticString {
        if code == .invalidArgument { return "neither a file nor a block device" }
        guard code == .busy else { return "cannot be opened" }
        return switch use {
        case BGS_DEVICE_MOUNTED: "is mounted"
        case BGS_DEVICE_LOOPED: "is in use by a loop device"
        case BGS_DEVICE_LOCKED: "is open for writing already"
        default: "is in use: mounted, partitioned or part of another device"
        }
    }

    /// Removes a file that was made by mistake; what cannot be removed stays.
    package static func remove(path: UnsafePointer<CChar>) {
        _ = unsafe bgs_device_remove(path)
    }

    /// Whether `other` is the same file or block device, by whatever path.
    package func isSame(as other: FileDevice) -> Bool {
        bgs_device_is_same(descriptor, other.descriptor) == 1
    }

    /// Makes an image file longer, by zeros that take no room, or shorter. Call it while nobody
    /// reads or writes.
    ///
    /// Throws `.invalidArgument` for a block device.
    package func resize(to byteCount: UInt64) throws(FilesystemError) {
        let failed = bgs_device_resize(descriptor, byteCount)
        guard failed == 0 else {
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "device",
                "cannot be made % bytes long",
                byteCount
            )
        }
        size.store(byteCount, ordering: .relaxed)
    }

    deinit {
        if direct >= 0 { bgs_close(direct) }
        bgs_close(descriptor)
    }

    package func read(
        physical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        guard buffer.count > 0 else { return }
        try checkRange(physical: physical, length: buffer.count)
        let failed = unsafe bgs_pread(descriptor, buffer.baseAddress, buffer.count, physical)
        guard failed == 0 else {
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "device",
                "read of % bytes failed",
                UInt64(buffer.count),
                physical: physical
            )
        }
    }

    package func write(
        physical: UInt64,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        guard buffer.count > 0 else { return }
        try checkRange(physical: physical, length: buffer.count)
        if try unsafe writePastCache(physical: physical, buffer) { return }
        let failed = unsafe bgs_pwrite(descriptor, buffer.baseAddress, buffer.count, physical)
        guard failed == 0 else { throw writeFailure(failed, physical, buffer.count) }
        if buffer.count >= FileDevice.streamBytesMin {
            bgs_start_writeback(descriptor, physical, UInt64(buffer.count))
        }
    }

    /// Writes a part of a stream; false: it is none, or cannot go past the page cache.
    ///
    /// What the page cache has of the range is written and dropped by the kernel, so reads and smaller
    /// writes before and after it see the same bytes.
    private func writePastCache(
        physical: UInt64,
        _ buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) -> Bool {
        let alignment = UInt64(BGS_DIRECT_ALIGNMENT)
        let address = UInt64(UInt(bitPattern: buffer.baseAddress))
        guard direct >= 0, buffer.count >= FileDevice.streamBytesMin,
            (address | physical | UInt64(buffer.count)) % alignment == 0
        else { return false }
        let failed = unsafe bgs_pwrite(direct, buffer.baseAddress, buffer.count, physical)
        if failed == 0 { return true }
        // Its blocks are larger than that, or it cannot reach such memory: the page cache can.
        if failed == -bgs_einval || failed == -bgs_efault { return false }
        throw writeFailure(failed, physical, buffer.count)
    }

    private func writeFailure(
        _ failed: CInt,
        _ physical: UInt64,
        _ count: Int
    ) -> FilesystemError {
        FilesystemError(
            FilesystemError.Code(systemError: failed),
            "device",
            "write of % bytes failed",
            UInt64(count),
            physical: physical
        )
    }

    package func flush() throws(FilesystemError) {
        let failed = bgs_fsync(descriptor)
        guard failed == 0 else {
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "device",
                "flush failed"
            )
        }
    }
}
