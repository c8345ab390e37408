//===-- MemoryDevice.swift - a device in memory that can be made to fail ----------------------===//
// The one fake device of the tests: empty, over another device whose bytes it never changes, or with
// given bytes. Sparse: a device of a GiB costs what is written to it. Every transfer can be failed or
// falsified (onRead, onWrite, onFlush; FaultPlan), and what is written can be recorded (Recording).
//
// Invariants:
//   1. Pages never written read as the device underneath, or as zeros where there is none.
//   2. A write is in the recording in the same place, among the writes to this device, as in memory.
//
// Locks: one, around pages and counters; hooks run outside of it. Any number of threads; hooks are set
// while no other thread uses the device.

package import BGDevices
package import BGDiskFormat
import Foundation

/// A device in memory, sparse, with hooks that fail or falsify transfers.
package final class MemoryDevice: BlockDevice, @unchecked Sendable {
    package static let pageBytes = 65536

    package let byteCount: UInt64
    private let under: (any BlockDevice)?
    private let lock = NSLock()
    private var pages: [Int: UnsafeMutableRawPointer] = [:]
    /// Calls so far, the failed ones included.
    package private(set) var readCount = 0
    package private(set) var writeCount = 0
    package private(set) var flushCount = 0
    /// Bytes read since the count was last set to 0.
    package var readBytes = 0
    /// Where reads began, while this is not nil.
    package var readPlaces: Set<Int>?

    /// Runs after each read: throws to fail it, or changes the bytes.
    package var onRead:
        ((_ physical: UInt64, _ bytes: inout [UInt8]) throws(FilesystemError) -> Void)?
    /// Runs before each write: throws to fail it, after having stored what is to be there all the same.
    package var onWrite:
        ((_ physical: UInt64, _ bytes: UnsafeRawBufferPointer) throws(FilesystemError) -> Void)?
    /// Runs before each flush: throws to fail it.
    package var onFlush: (() throws(FilesystemError) -> Void)?

    /// What takes down writes and flushes, and which device this is there.
    var recording: Recording?
    var recordedIndex = 0

    /// A device of zeros.
    package init(byteCount: UInt64) {
        self.byteCount = byteCount
        under = nil
    }

    /// A device that begins with the bytes of `under` and keeps its own changes.
    package init(over under: any BlockDevice) {
        byteCount = under.byteCount
        self.under = under
    }

    /// A device with these bytes.
    package convenience init(_ bytes: [UInt8]) {
        self.init(byteCount: UInt64(bytes.count))
        bytes.withUnsafeBytes { store(physical: 0, $0) }
    }

    /// The first device of an image, which stays as it is.
    package convenience init(_ image: MkfsImage) throws {
        self.init(over: try fileDevice(image.paths[0]))
    }

    deinit {
        for page in pages.values { page.deallocate() }
    }

    package func read(
        physical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        lock.lock()
        readCount += 1
        readBytes += buffer.count
        readPlaces?.insert(Int(clamping: physical))
        lock.unlock()
        try checkRange(physical: physical, length: buffer.count)
        var failure: FilesystemError?
        MemoryDevice.forEachPiece(physical, buffer.count) { page, start, range in
            let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[range])
            do throws(FilesystemError) {
                try load(page, start, into: piece)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        guard let onRead else { return }
        var bytes = Array(buffer)
        try onRead(physical, &bytes)
        buffer.copyBytes(from: bytes)
    }

    package func write(
        physical: UInt64,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        lock.withLock { writeCount += 1 }
        try checkRange(physical: physical, length: buffer.count)
        if let onWrite { try onWrite(physical, buffer) }
        store(physical: physical, buffer)
    }

    package func flush() throws(FilesystemError) {
        lock.withLock { flushCount += 1 }
        recording?.append(.flush(device: recordedIndex))
        if let onFlush { try onFlush() }
    }

    /// Puts bytes there, past every hook.
    package func store(physical: UInt64, _ bytes: UnsafeRawBufferPointer) {
        precondition(physical + UInt64(bytes.count) <= byteCount)
        lock.lock()
        defer { lock.unlock() }
        MemoryDevice.forEachPiece(physical, bytes.count) { page, start, range in
            let own = ownPage(page)
            own.advanced(by: start).copyMemory(
                from: bytes.baseAddress! + range.lowerBound,
                byteCount: range.count
            )
        }
        recording?.append(.write(device: recordedIndex, physical: physical, bytes: Array(bytes)))
    }

    /// Calls `body` for each page that a range touches, with where in the page the piece begins and which of
    /// the range's bytes it is.
    private static func forEachPiece(
        _ physical: UInt64,
        _ count: Int,
        _ body: (_ page: Int, _ start: Int, _ range: Range<Int>) -> Void
    ) {
        var done = 0
        while done < count {
            let at = Int(physical) + done
            let start = at % pageBytes
            let piece = min(pageBytes - start, count - done)
            body(at / pageBytes, start, done..<done + piece)
            done += piece
        }
    }

    private func load(
        _ page: Int,
        _ start: Int,
        into piece: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        lock.lock()
        if let own = pages[page] {
            piece.copyMemory(from: UnsafeRawBufferPointer(start: own + start, count: piece.count))
            lock.unlock()
            return
        }
        lock.unlock()
        if let under {
            try under.read(physical: UInt64(page * MemoryDevice.pageBytes + start), into: piece)
        } else {
            piece.initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    /// The page's bytes for writing. With the lock held.
    private func ownPage(_ page: Int) -> UnsafeMutableRawPointer {
        if let own = pages[page] { return own }
        let size = MemoryDevice.pageBytes
        let own = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        own.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        let start = UInt64(page * size)
        if let under {
            let present = Int(min(under.byteCount - start, UInt64(size)))
            // What cannot be read beneath is zeros here.
            try? under.read(
                physical: start,
                into: UnsafeMutableRawBufferPointer(start: own, count: present)
            )
        }
        pages[page] = own
        return own
    }
}

// MARK: for tests

extension MemoryDevice {
    /// Writes an array.
    package func write(physical: UInt64, _ bytes: [UInt8]) throws(FilesystemError) {
        var failure: FilesystemError?
        bytes.withUnsafeBytes { buffer in
            do throws(FilesystemError) {
                try write(physical: physical, from: buffer)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// Bytes as they are, read past every hook and counter.
    package func bytes(at physical: Int, _ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { buffer in
            MemoryDevice.forEachPiece(UInt64(physical), count) { page, start, range in
                let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[range])
                do throws(FilesystemError) {
                    try load(page, start, into: piece)
                } catch {
                    preconditionFailure("the device beneath cannot be read: \(error.message)")
                }
            }
        }
        return bytes
    }

    /// One byte, past every hook and counter.
    package subscript(physical: Int) -> UInt8 {
        get { bytes(at: physical, 1)[0] }
        set { withUnsafeBytes(of: newValue) { store(physical: UInt64(physical), $0) } }
    }

    /// Puts bytes there, past every hook.
    package func replace(at physical: Int, with bytes: [UInt8]) {
        bytes.withUnsafeBytes { store(physical: UInt64(physical), $0) }
    }

    /// Puts a little-endian number of `count` bytes there.
    package func put(_ value: UInt64, _ count: Int, at physical: Int) {
        replace(
            at: physical,
            with: (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
        )
    }

    /// Gives `count` bytes at `physical` the checksum that fits them.
    package func seal(_ physical: Int, count: Int, _ type: ChecksumType) {
        var block = bytes(at: physical, count)
        var span = block.mutableSpan
        var raw = span.mutableBytes
        type.seal(block: &raw)
        replace(at: physical, with: block)
    }

    /// Writes the device to a sparse file, for programs that want one.
    package func save(to path: String) throws {
        let file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        guard file >= 0 else { throw ToolFailure(description: "cannot make \(path)") }
        defer { close(file) }
        guard ftruncate(file, off_t(byteCount)) == 0 else {
            throw ToolFailure(description: "cannot make \(path) as long as the device")
        }
        try saveInto(file)
    }

    /// The pages of the devices underneath first, so that later changes win.
    private func saveInto(_ file: CInt) throws {
        if let below = under as? MemoryDevice {
            try below.saveInto(file)
        } else if let under {
            try saveAll(of: under, into: file)
        }
        lock.lock()
        defer { lock.unlock() }
        for (page, bytes) in pages {
            let start = page * MemoryDevice.pageBytes
            let count = min(MemoryDevice.pageBytes, Int(byteCount) - start)
            guard pwrite(file, bytes, count, off_t(start)) == count else {
                throw ToolFailure(description: "cannot write the device's copy: errno \(errno)")
            }
        }
    }

    private func saveAll(of device: any BlockDevice, into file: CInt) throws {
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let zeros = bytes
        for start in stride(from: UInt64(0), to: device.byteCount, by: bytes.count) {
            let count = Int(min(UInt64(bytes.count), device.byteCount - start))
            bytes.removeLast(bytes.count - count)
            try readWhole(&bytes, from: device, physical: start)
            if beginAlike(bytes, zeros) { continue }
            guard pwrite(file, bytes, count, off_t(start)) == count else {
                throw ToolFailure(description: "cannot write the device's copy: errno \(errno)")
            }
        }
    }
}

/// Whether two arrays hold the same bytes, as far as the shorter goes; quick in debug builds, too.
package func beginAlike(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    one.withUnsafeBytes { one in
        other.withUnsafeBytes { other in
            let count = min(one.count, other.count)
            return count == 0 || memcmp(one.baseAddress!, other.baseAddress!, count) == 0
        }
    }
}

/// A file as a device, for reading.
package func fileDevice(_ path: String) throws -> FileDevice {
    try path.withCString { try FileDevice(path: $0, writable: false) }
}
