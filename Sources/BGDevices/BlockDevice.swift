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
        case 22: self = .invalidArgument
        case 28: self = .noSpace
        case 30: self = .readOnly
        default: self = .system(-systemError)
        }
    }
}

/// A regular file or block device, opened by path.
package final class FileDevice: BlockDevice {
    private let descriptor: CInt
    package let byteCount: UInt64

    /// Opens the file with this null-terminated path.
    package init(path: UnsafePointer<CChar>, writable: Bool) throws(FilesystemError) {
        let opened = unsafe bgs_open(path, writable ? BGS_OPEN_WRITE : 0)
        guard opened >= 0 else {
            throw FilesystemError(
                FilesystemError.Code(systemError: opened),
                "device",
                "cannot be opened"
            )
        }
        var size: UInt64 = 0
        let failed = unsafe bgs_file_size(opened, &size)
        guard failed == 0 else {
            bgs_close(opened)
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "device",
                "neither a file nor a block device"
            )
        }
        descriptor = opened
        byteCount = size
    }

    deinit { bgs_close(descriptor) }

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
        let failed = unsafe bgs_pwrite(descriptor, buffer.baseAddress, buffer.count, physical)
        guard failed == 0 else {
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "device",
                "write of % bytes failed",
                UInt64(buffer.count),
                physical: physical
            )
        }
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
