//===-- MemoryDevice.swift - a device in memory that can be made to fail ----------------------===//
// The one fake device of the tests: empty, or over another device whose bytes it never changes.
//
// Invariants:
//   1. Pages never written read as the device underneath, or as zeros where there is none.
//
// Locks: none. One thread at a time.

package import BGDiskFormat

/// A device in memory, sparse, with hooks that fail or falsify transfers.
package final class MemoryDevice: BlockDevice, @unchecked Sendable {
    private static let pageBytes = 65536

    package let byteCount: UInt64
    private let under: (any BlockDevice)?
    private var pages: [[UInt8]?]
    /// Calls so far, the failed ones included.
    package private(set) var readCount = 0
    package private(set) var writeCount = 0
    package private(set) var flushCount = 0

    /// Runs after each read: throws to fail it, or changes the bytes.
    package var onRead:
        ((_ physical: UInt64, _ bytes: inout [UInt8]) throws(FilesystemError) -> Void)?
    /// Runs before each write: throws to fail it.
    package var onWrite: ((_ physical: UInt64, _ count: Int) throws(FilesystemError) -> Void)?

    /// A device of zeros.
    package init(byteCount: UInt64) {
        self.byteCount = byteCount
        under = nil
        pages = Array(repeating: nil, count: MemoryDevice.pageCount(byteCount))
    }

    /// A device that begins with the bytes of `under` and keeps its own changes.
    package init(over under: any BlockDevice) {
        byteCount = under.byteCount
        self.under = under
        pages = Array(repeating: nil, count: MemoryDevice.pageCount(under.byteCount))
    }

    private static func pageCount(_ bytes: UInt64) -> Int {
        Int((bytes + UInt64(pageBytes) - 1) / UInt64(pageBytes))
    }

    package func read(
        physical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        readCount += 1
        try checkRange(physical: physical, length: buffer.count)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(buffer.count)
        while bytes.count < buffer.count {
            let at = physical + UInt64(bytes.count)
            let page = Int(at / UInt64(MemoryDevice.pageBytes))
            let start = Int(at % UInt64(MemoryDevice.pageBytes))
            let count = min(MemoryDevice.pageBytes - start, buffer.count - bytes.count)
            bytes += try content(of: page)[start..<start + count]
        }
        if let onRead { try onRead(physical, &bytes) }
        unsafe buffer.copyBytes(from: bytes)
    }

    package func write(
        physical: UInt64,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        writeCount += 1
        try checkRange(physical: physical, length: buffer.count)
        if let onWrite { try onWrite(physical, buffer.count) }
        var done = 0
        while done < buffer.count {
            let at = physical + UInt64(done)
            let page = Int(at / UInt64(MemoryDevice.pageBytes))
            let start = Int(at % UInt64(MemoryDevice.pageBytes))
            let count = min(MemoryDevice.pageBytes - start, buffer.count - done)
            var bytes = try content(of: page)
            for index in 0..<count { bytes[start + index] = unsafe buffer[done + index] }
            pages[page] = bytes
            done += count
        }
    }

    package func flush() throws(FilesystemError) {
        flushCount += 1
    }

    /// Writes an array; for tests.
    package func write(physical: UInt64, _ bytes: [UInt8]) throws(FilesystemError) {
        var failure: FilesystemError?
        unsafe bytes.withUnsafeBytes { buffer in
            do throws(FilesystemError) {
                try unsafe write(physical: physical, from: buffer)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    private func content(of page: Int) throws(FilesystemError) -> [UInt8] {
        if let bytes = pages[page] { return bytes }
        var bytes = [UInt8](repeating: 0, count: MemoryDevice.pageBytes)
        guard let under else { return bytes }
        let start = UInt64(page) * UInt64(MemoryDevice.pageBytes)
        let present = min(under.byteCount - start, UInt64(bytes.count))
        bytes.removeLast(bytes.count - Int(present))
        try readWhole(&bytes, from: under, physical: start)
        bytes += [UInt8](repeating: 0, count: MemoryDevice.pageBytes - Int(present))
        return bytes
    }
}
